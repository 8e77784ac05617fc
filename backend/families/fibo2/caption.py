"""The captions that Fibo 2 was trained with: JSON without empty values, and what an edit is asked for."""

from __future__ import annotations

import json
import math
from typing import Any

MARK = "<|vision_start|><|image_pad|><|vision_end|>"
"""Stands in a prompt for a picture."""
NOTHING = (
    '{"short_description":"","objects":[],"background_setting":"","lighting":{},"aesthetics":{},"photographic_characteristics":{},'
    '"style_medium":"","context":"","artistic_style":""}'
)
"""The caption of no picture in particular: what is guided away from where nobody says."""
SCORES = ("aesthetic_score", "preference_score")
TEXTS = {"short_description", "text_render"}
"""The keys of a caption that is about its letters alone; it keeps both."""


def to_make(prompt: str) -> str:
    """The prompt for a new picture: a caption as it was trained, any other text as it is."""
    caption, _ = parsed(prompt)
    return prompt if isinstance(caption, str) else compact(caption or {})


def to_edit(prompt: str, pictures: int) -> str:
    """The prompt for pictures to edit, by an instruction, or a caption of the result that has an `edit_instruction`."""
    caption, instruction = parsed(prompt)
    if instruction is None:
        caption, instruction = None, prompt
    marks = {"image": MARK} if pictures == 1 else {f"image_{i}": MARK for i in range(1, pictures + 1)}
    return compact({**marks, **({"structured_caption": caption} if caption else {}), "edit_instruction": instruction})


def parsed(prompt: str) -> tuple[Any, str | None]:
    """A caption without what is empty and without scores (None where nothing is left), or the prompt itself; and its instruction."""
    try:
        whole = json.loads(prompt)
    except (json.JSONDecodeError, RecursionError):
        return prompt, None
    if not isinstance(whole, dict):
        return prompt, None
    instruction = whole.pop("edit_instruction", None)
    caption = whole.pop("structured_caption", whole)
    if not isinstance(caption, dict):
        return caption or None, instruction
    kept = {key: value for key, value in _filled(caption).items() if key not in SCORES}
    kept = {key: _without_scores(value) for key, value in kept.items()}
    kept = {key: value for key, value in kept.items() if value != {}}
    if set(caption) == TEXTS:
        kept = {"short_description": kept.get("short_description", ""), "text_render": kept.get("text_render", [])}
    return kept or None, instruction


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _without_scores(value: Any) -> Any:
    return {key: inner for key, inner in value.items() if key not in SCORES} if isinstance(value, dict) else value


def _filled(value: Any) -> Any:
    """The value without empty members, at any depth."""
    if isinstance(value, dict):
        return {key: inner for key, raw in value.items() if not _empty(inner := _filled(raw))}
    if isinstance(value, list):
        return [inner for raw in value if not _empty(inner := _filled(raw))]
    return value


def _empty(value: Any) -> bool:
    return value is None or value in ("", {}, []) or (isinstance(value, float) and math.isnan(value))


def size_for(ratio: float, area: int = 1024 * 1024, step: int = 16) -> tuple[int, int]:
    """(width, height) of training for pictures of this ratio of sides: within a tenth of the area, in whole steps, cropping least."""
    least = 4 * step
    sizes = [
        (width, height)
        for width in range(least, 2 * area // least, step)
        for height in range(least, 2 * area // width, step)
        if 0.9 * area <= width * height <= 1.1 * area
    ]

    def by(size: tuple[int, int]) -> tuple[float, int, int]:
        own = size[0] / size[1]
        return round(1 - min(own / ratio, ratio / own), 9), abs(size[0] * size[1] - area), -size[0]

    return min(sizes, key=by)

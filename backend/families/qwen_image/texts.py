"""How Qwen Image reads Qwen2.5-VL 7B: what it is asked around the prompt, and which of its tokens count."""

from __future__ import annotations

from collections.abc import Sequence

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner

BRANCHES = ("qwen25_7b", "qwen25_3b")
TURN_START, USER, NEW_LINE = 151644, 872, 198
"""Tokens of Qwen's vocabulary: what begins a turn, whose it is, and the end of that line."""

_TURNS = "<|im_start|>system\n{system}<|im_end|>\n<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
DESCRIBE = _TURNS.replace(
    "{system}",
    "Describe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the objects and background:",
).replace("{prompt}", "{}")
"""For a picture from nothing (appendix of the report)."""
EDIT = _TURNS.replace(
    "{system}",
    "Describe the key features of the input image (color, shape, size, texture, objects, background), then explain how the user's text"
    " instruction should alter or modify the image. Generate a new image that meets the user's requirements while maintaining consistency"
    " with the original input where appropriate.",
).replace("{prompt}", "{}")
"""For a picture from others."""


def before_prompt(tokens: Sequence[int]) -> int:
    """How many tokens come before what the user says: the instruction, and the words that begin the second turn."""
    turns = [at for at, token in enumerate(tokens) if token == TURN_START]
    if len(turns) < 2:
        return 0
    at = turns[1]
    return at + 3 if list(tokens[at + 1 : at + 3]) == [USER, NEW_LINE] else at


READING = Reading(template=DESCRIBE, drop=before_prompt)


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or encoders[0].branch not in BRANCHES or not isinstance(encoders[0], LmHandle):
        return None
    return encoders[0].read_as(READING)


QWEN_IMAGE = Joiner("Qwen Image", "Qwen2.5-VL 7B", ("qwen_image",), _join, usual=(frozenset({BRANCHES[0]}),))

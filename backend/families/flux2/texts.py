"""How Flux 2 reads its language models: three layers side by side, of a text that is filled up to 512 tokens, filling included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading, side_by_side
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner

LENGTH = 512
SYSTEM = (
    "You are an AI that reasons about image descriptions. You give structured responses focusing on object relationships, object\n"
    "attribution and actions without speculation."
)
MISTRAL = Reading(
    template="[SYSTEM_PROMPT]" + SYSTEM + "[/SYSTEM_PROMPT][INST]{}[/INST]", layers=(10, 20, 30), mix=side_by_side, most=LENGTH,
    least=LENGTH, pad_left=True,
)  # fmt: skip
QWEN = Reading(
    template="<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", layers=(9, 18, 27), mix=side_by_side,
    most=LENGTH, least=LENGTH,
)  # fmt: skip
READINGS = {"Mistral Small 3": MISTRAL, "Qwen 3": QWEN}
"""dev reads Mistral, klein Qwen."""


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    only = encoders[0] if len(encoders) == 1 else None
    reading = READINGS.get(only.make.name) if isinstance(only, LmHandle) else None
    if reading is None or not isinstance(only, LmHandle):
        return None
    within = replace(reading, layers=tuple(min(layer, only.sizes.layers) for layer in reading.layers))
    return only.read_as(within)


FLUX2 = Joiner("Flux 2", "Mistral 3 Small, or for klein Qwen 3 (4B or 8B)", ("flux2",), _join, usual=(frozenset({"mistral3_24b"}),))

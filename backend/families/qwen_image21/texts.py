"""How Qwen Image 2.1 reads Qwen3-VL 8B."""

from __future__ import annotations

from collections.abc import Sequence

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner

BRANCHES = ("qwen3vl_8b", "qwen3vl_4b")
TURN_END, NEW_LINE = 151645, 198
SYSTEM = "Comprehend and analyze the provided prompt."
TEMPLATE = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{{}}<|im_end|>\n<|im_start|>assistant\n"
NOTHING = " "
"""Said in place of an empty prompt."""


def after_system(tokens: Sequence[int]) -> int:
    """How many tokens the instruction before the first turn has."""
    at = next((at for at, token in enumerate(tokens) if token == TURN_END), None)
    if at is None:
        return 0
    return at + 2 if list(tokens[at + 1 : at + 2]) == [NEW_LINE] else at + 1


READING = Reading(template=TEMPLATE, drop=after_system, finish=False)


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    if len(encoders) != 1 or encoders[0].branch not in BRANCHES or not isinstance(encoders[0], LmHandle):
        return None
    return encoders[0].read_as(READING)


QWEN_IMAGE_21 = Joiner("Qwen Image 2.1", "Qwen3-VL 8B", ("qwen_image",), _join)

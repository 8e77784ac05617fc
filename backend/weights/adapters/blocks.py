"""How much of a LoRA each block of a UNet gets, as people write it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from backend.base.errors import BadInput


def _blocks(inputs: range | tuple[int, ...], outputs: range) -> tuple[str, ...]:
    return (*(f"input {i}" for i in inputs), "middle", *(f"output {i}" for i in outputs))


LISTS: Mapping[int, tuple[str, ...]] = {
    17: _blocks((1, 2, 4, 5, 7, 8), range(3, 12)),
    26: _blocks(range(12), range(12)),
    12: _blocks((4, 5, 7, 8), range(6)),
    20: _blocks(range(9), range(9)),
}
"""The blocks that plain lists of so many numbers mean; the number before them is for the text encoder. 17 and 26 for SD 1 and 2 (those
with attention, or all), 12 and 20 for SDXL."""
SHORT = {"base": "text", "te": "text", "in": "input", "mid": "middle", "m": "middle", "out": "output", "default": "rest"}
ENTRY = re.compile(r"\s*([A-Za-z]+)\s*(\d+)?\s*[:=]\s*(-?\d*\.?\d+(?:[eE]-?\d+)?)\s*")
EXAMPLE = "Write as in `input 4: 0.5, middle: 1, output: 0.8, text: 1, rest: 0`, or a list of 12, 17, 20 or 26 numbers."


@dataclass(frozen=True)
class BlockWeights:
    """Factors by place; what is not named gets `rest`."""

    factors: Mapping[str, float]
    """By "input", "input 4", "middle", "output 3" ..."""
    text: float = 1.0
    rest: float = 1.0

    def of(self, parameter: str) -> float:
        """The factor of a UNet's parameter."""
        part, _, tail = parameter.partition("_block")
        if part not in ("input", "middle", "output"):
            return self.rest
        number = tail.partition(".")[2].partition(".")[0]
        return self.factors.get(f"{part} {number}", self.factors.get(part, self.rest))


EVEN = BlockWeights({})
"""Every block as it is."""


def read_block_weights(text: str) -> BlockWeights:
    """Named places or a plain list of numbers. Raises BadInput that quotes what it cannot read."""
    pieces = [piece.strip() for piece in re.split(r"[,;\n]", text) if piece.strip()]
    numbers = [_number(piece) for piece in pieces]
    if pieces and all(number is not None for number in numbers):
        return _listed([number for number in numbers if number is not None])
    found: dict[str, float] = {}
    for piece in pieces:
        match = ENTRY.fullmatch(piece)
        place = SHORT.get(match[1].lower(), match[1].lower()) if match else ""
        if match is None or place not in ("text", "input", "middle", "output", "rest"):
            raise BadInput(f"`{piece:.60}` is no block with a weight.", hint=EXAMPLE, input="block_weights")
        numbered = match[2] is not None and place in ("input", "output")
        found[f"{place} {int(match[2])}" if numbered else place] = float(match[3])
    text_weight, rest = found.pop("text", 1.0), found.pop("rest", 1.0)
    return BlockWeights(found, text_weight, rest)


def _number(piece: str) -> float | None:
    try:
        return float(piece)
    except ValueError:
        return None


def _listed(numbers: list[float]) -> BlockWeights:
    if len(numbers) not in LISTS:
        raise BadInput(f"There are {len(numbers)} block weights.", hint=EXAMPLE, input="block_weights")
    return BlockWeights(dict(zip(LISTS[len(numbers)], numbers[1:], strict=True)), numbers[0])

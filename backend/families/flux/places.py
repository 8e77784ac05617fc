"""Where the tokens of the prompt, the picture and reference pictures stand: what rotary embedding turns them by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Place = tuple[int, int, int]
"""(number, row, column) of a picture's first token."""


@dataclass(frozen=True)
class Layout:
    """A family's way of numbering tokens along the axes (number of the picture, row, column ...)."""

    axes: tuple[int, ...] = (16, 56, 56)
    """Channels of a head that turn with each axis, for heads 128 wide; see `widths`."""
    theta: float = 10000.0
    text: tuple[int, ...] = ()
    """Axes along which the prompt's tokens are counted; along the others they stand at nought."""
    first: Place = (0, 0, 0)
    """Of the picture that is made."""
    step: int = 1
    """Between the numbers of reference pictures that are told apart by it."""
    method: str = "offset"
    """How reference pictures are placed where nobody says: "offset", "index" or "uxo"."""

    def widths(self, head: int) -> tuple[int, ...]:
        """Channels of a head `head` wide for each axis, in the proportions of the published nets."""
        return tuple(width * head // sum(self.axes) for width in self.axes)

    def prompt(self, length: int, device: torch.device) -> Tensor:
        """[length, axes]"""
        at = torch.zeros(length, len(self.axes), device=device)
        for axis in self.text:
            at[:, axis] = torch.arange(length, device=device)
        return at

    def picture(self, height: int, width: int, device: torch.device, number: int = 0, row: int = 0, column: int = 0) -> Tensor:
        """[height * width, axes], in tokens, row by row."""
        at = torch.zeros(height, width, len(self.axes), device=device)
        at[..., 0] = self.first[0] + number
        at[..., 1] = (torch.arange(height, device=device) + self.first[1] + row)[:, None]
        at[..., 2] = torch.arange(width, device=device) + self.first[2] + column
        return at.flatten(0, 1)

    def references(self, size: tuple[int, int], sizes: Sequence[tuple[int, int]], method: str | None) -> list[Place]:
        """Where reference pictures stand; the picture's size (height, width) and theirs, in tokens.

        "index": each has a number of its own, all begin at the corner. "offset": all are number one, below or beside those before, to
        the smaller side. "uxo": all are number nought and go on diagonally behind the picture (Wu et al. 2025, arXiv:2504.02160).
        """
        method = method or self.method
        down = right = 0
        found = []
        for i, (height, width) in enumerate(sizes):
            if method.startswith("index"):
                found.append(((i + 1) * self.step, 0, 0))
            elif method == "uxo":
                found.append((0, size[0] + down, size[1] + right))
                down, right = down + height, right + width
            else:
                below, beside = (0, right) if height + down > width + right else (down, 0)
                found.append((1, below, beside))
                down, right = max(down, height + below), max(right, width + beside)
        return found

"""Residuals of control nets: lists by place, scaled and added up.

Lists are used from their end: "input"[-1] is added after the net's first block, "output"[-1] to the deepest skip connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

Residuals = Mapping[str, Sequence[Tensor | None]]


def scaled(made: Residuals, scale: Callable[[int, int], float]) -> dict[str, list[Tensor | None]]:
    """Each residual times scale(position, length of its list)."""
    return {place: [None if r is None else r * scale(i, len(values)) for i, r in enumerate(values)] for place, values in made.items()}


def merged(first: Residuals | None, second: Residuals | None) -> Residuals | None:
    """The sum. Lists of different length are aligned at their end, where they start being used."""
    if first is None or second is None:
        return second if first is None else first
    return {place: _sum(first.get(place, ()), second.get(place, ())) for place in {**first, **second}}


def _sum(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> list[Tensor | None]:
    out: list[Tensor | None] = []
    for i in range(max(len(a), len(b)), 0, -1):
        x, y = (a[-i] if i <= len(a) else None), (b[-i] if i <= len(b) else None)
        out.append(y if x is None else x if y is None else x + y)
    return out

"""Run something over overlapping tiles of a map and blend the results."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Run = Callable[[int, int, int, int], Tensor]
"""(top, left, height, width) of a tile in latent cells -> its result [B, C, height * scale, width * scale]."""


def starts(size: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one axis so that they cover `size`, each within it and overlapping the one before by at least `overlap`."""
    if size <= tile:
        return [0]
    step = max(1, tile - overlap)
    return [*range(0, size - tile, step), size - tile]


def even(size: int, tile: int, overlap: int) -> int:
    """The smallest tile that covers `size` in as many pieces as `tile` does: the last tile then repeats no more of the others' work than
    the overlap asks for."""
    count = len(starts(size, tile, overlap))
    return min(tile, -(-(size + (count - 1) * overlap) // count))


def feather(size: int, overlap: int, before: bool, after: bool) -> Tensor:
    """Weights along one axis of a tile: 1 inside, falling linearly over `overlap` where there is a neighbour; never 0."""
    weights = torch.ones(size)
    ramp = torch.arange(1, min(overlap, size) + 1) / (overlap + 1)
    if before:
        weights[: len(ramp)] = torch.minimum(weights[: len(ramp)], ramp)
    if after:
        weights[-len(ramp) or size :] = torch.minimum(weights[-len(ramp) or size :], ramp.flip(0))
    return weights


def tiled(
    run: Run, height: int, width: int, tile: int, overlap: int, scale: int = 1, on_tile: Callable[[int, int], None] | None = None
) -> Tensor:
    """The weighted mean of `run` over tiles of a map of `height` x `width` cells; the result is `scale` times as large.

    `tile` is the most a tile may measure, and `overlap` what two share; both count cells. `on_tile(done, total)` is told after each tile.
    """
    tile, overlap = max(1, tile), max(0, min(overlap, tile - 1))
    h, w = even(height, tile, overlap), even(width, tile, overlap)
    tops, lefts = starts(height, h, overlap), starts(width, w, overlap)
    total: Tensor | None = None
    weight = torch.zeros(1, 1, height * scale, width * scale)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            part = run(top, left, h, w).float().cpu()
            rows = feather(h * scale, overlap * scale, i > 0, i < len(tops) - 1)
            columns = feather(w * scale, overlap * scale, j > 0, j < len(lefts) - 1)
            mask = rows[:, None] * columns[None]
            if total is None:
                total = torch.zeros(*part.shape[:2], height * scale, width * scale)
            where = (..., slice(top * scale, (top + h) * scale), slice(left * scale, (left + w) * scale))
            total[where] += part * mask
            weight[where] += mask
            if on_tile is not None:
                on_tile(i * len(lefts) + j + 1, len(tops) * len(lefts))
    assert total is not None
    return total / weight

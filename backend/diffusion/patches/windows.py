"""Latents larger than a net was made for, in overlapping windows whose predictions are averaged at every step.

Along one dimension (frames): context windows, as AnimateDiff-Evolved describes them. Over height and width: MultiDiffusion panoramas
(Bar-Tal et al. 2023, arXiv:2302.08113).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.steps import Steps
from backend.diffusion.window import Window

Rows = list[int]


def averaged(ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], windows: Iterable[tuple[Window, Tensor | float]]) -> list[Tensor]:
    """Each role's prediction as the mean of the windows', by their weights (which broadcast to the part)."""
    totals = [torch.zeros_like(x) for _ in roles]
    count = torch.zeros_like(x)
    for window, weight in windows:
        part = window.take(x)
        own_sigma = sigma[: part.shape[0]] if part.shape[0] <= sigma.shape[0] else sigma
        for total, found in zip(totals, ask(part, own_sigma, roles, window=window), strict=True):
            window.add(total, found * weight)
        window.add(count, torch.ones_like(part) * weight)
    return [total / count for total in totals]


# windows of frames


def static(frames: int, length: int, overlap: int, *_: Any) -> list[Rows]:
    """One after the other; the last one is moved back to end with the frames."""
    step = max(1, length - overlap)
    starts = [*range(0, frames - length, step), frames - length]
    return [list(range(start, start + length)) for start in starts]


def batched(frames: int, length: int, *_: Any) -> list[Rows]:
    """One after the other without overlap."""
    return [list(range(start, min(frames, start + length))) for start in range(0, frames, length)]


def uniform_looped(frames: int, length: int, overlap: int, stride: int, closed: bool, step: int) -> list[Rows]:
    """Windows that wrap around the end and move from step to step; beside neighbours also every 2nd, 4th ... frame."""
    found = []
    strides = min(stride, math.ceil(math.log2(frames / length)) + 1)
    share = _van_der_corput(step)
    pad = round(frames * share)
    for spacing in (1 << i for i in range(strides)):
        last = frames + pad + (0 if closed else -overlap)
        for start in range(int(share * spacing) + pad, last, max(1, length * spacing - overlap)):
            found.append([at % frames for at in range(start, start + length * spacing, spacing)])
    return found


def uniform(frames: int, length: int, overlap: int, stride: int, closed: bool, step: int) -> list[Rows]:
    """As `uniform_looped`, with windows that would wrap moved to the end or the beginning; every window once."""
    found: list[Rows] = []
    for rows in uniform_looped(frames, length, overlap, stride, closed, step):
        turn = next((i for i in range(1, len(rows)) if rows[i] < rows[i - 1]), None)
        if turn is not None:
            spacing = (rows[1] - rows[0]) % frames
            first = max(0, frames - 1 - spacing * (len(rows) - 1)) if turn >= len(rows) / 2 else rows[turn]
            rows = [first + spacing * i for i in range(len(rows))]
        if rows[0] >= 0 and rows[-1] < frames and rows not in found:
            found.append(rows)
    return found


def _van_der_corput(step: int) -> float:
    """0, 1/2, 1/4, 3/4, 1/8 ...: the step number with its bits mirrored at the point."""
    return int(f"{step:064b}"[::-1], 2) / (1 << 64)


SCHEDULES: dict[str, Callable[..., list[Rows]]] = {
    "standard_static": static,
    "standard_uniform": uniform,
    "looped_uniform": uniform_looped,
    "batched": batched,
}


def scheduled(name: str, frames: int, length: int, overlap: int, stride: int, closed: bool, step: int) -> list[Rows]:
    """The windows of a schedule at a step, and plain ones for frames that it leaves out."""
    found = SCHEDULES[name](frames, length, overlap, stride, closed, step)
    missing = set(range(frames)) - {at for rows in found for at in rows}
    return found + [rows for rows in static(frames, length, overlap) if missing.intersection(rows)]


def fuse_weights(name: str, rows: Rows, frames: int, overlap: int) -> Tensor:
    """How much each frame counts: more in the middle ("pyramid", "relative"), less in overlaps ("overlap-linear"), or equally."""
    n = len(rows)
    at = torch.arange(n, dtype=torch.float32)
    if name == "pyramid":
        return torch.minimum(at + 1, n - at)
    if name == "relative":
        return (1 - (at - (n - 1) / 2).abs() / ((n - 1 + 1e-2) / 2)).clamp(min=1e-2)
    weights = torch.ones(n)
    if name == "overlap-linear" and 0 < overlap < n:
        ramp = torch.linspace(1e-37, 1, overlap)
        if min(rows) > 0:
            weights[:overlap] = ramp
        if max(rows) < frames - 1:
            weights[-overlap:] = ramp.flip(0)
    return weights


class Context(Steps):
    """Windows of `length` frames along dimension `dim` of the latents."""

    def __init__(self, length: int, overlap: int, schedule: str, stride: int, closed: bool, fuse: str, dim: int) -> None:
        super().__init__()
        self.length, self.overlap, self.stride, self.closed, self.dim = length, min(overlap, length - 1), stride, closed, dim
        self.schedule, self.fuse = schedule, fuse

    def __call__(self, ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        self.at(float(sigma[0]), tuple(roles))
        if self.dim >= x.ndim or x.shape[self.dim] <= self.length:
            return list(ask(x, sigma, roles))
        frames = x.shape[self.dim]
        listed = scheduled(self.schedule, frames, self.length, self.overlap, self.stride, self.closed, self.index)
        shape = [-1 if d == self.dim else 1 for d in range(x.ndim)]

        def windows() -> Iterable[tuple[Window, Tensor]]:
            for rows in listed:
                weight = fuse_weights(self.fuse, rows, frames, self.overlap).to(x).reshape(shape)
                yield Window(tuple(x.shape), {self.dim: rows}), weight

        return averaged(ask, x, sigma, roles, windows())


def context_windows(
    model: ModelHandle, length: int, overlap: int, schedule: str, stride: int, closed: bool, fuse: str, dim: int
) -> ModelHandle:
    """Predict `length` frames at a time."""
    return model.with_tap("predict", Context(length, overlap, schedule, stride, closed, fuse, dim))


# panoramas


def views(height: int, width: int, size: int, stride: int, circular: bool) -> list[tuple[Rows, Rows]]:
    """(rows, columns) of windows of `size` cells that begin every `stride` cells; `circular`: columns go on at the left border."""
    tops = _starts(height, size, stride)
    lefts = list(range(0, width, stride)) if circular and width > size else _starts(width, size, stride)
    high, wide = min(size, height), min(size, width)
    return [([*range(top, top + high)], [at % width for at in range(left, left + wide)]) for top in tops for left in lefts]


def _starts(side: int, size: int, stride: int) -> list[int]:
    if side <= size:
        return [0]
    starts = list(range(0, side - size + 1, stride))
    return starts if starts[-1] == side - size else [*starts, side - size]


def panorama(model: ModelHandle, size: int, stride: int, circular: bool) -> ModelHandle:
    """Predict latents larger than `size` cells in windows, all of equal weight."""

    def tap(ask: Any, x: Tensor, sigma: Tensor, roles: Sequence[str], conds: Any) -> list[Tensor]:
        if x.ndim != 4 or (max(x.shape[-2:]) <= size):
            return list(ask(x, sigma, roles))
        parts = views(x.shape[2], x.shape[3], size, stride, circular)
        return averaged(ask, x, sigma, roles, ((Window(tuple(x.shape), {2: rows, 3: columns}), 1.0) for rows, columns in parts))

    return model.with_tap("predict", tap)

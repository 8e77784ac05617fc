"""A part of the latents: along each chosen dimension a list of positions, which may wrap around the border."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.diffusion.conditioning import Entry

FRAMES = 2
"""The dimension of latents with time."""


@dataclass(frozen=True)
class Along:
    """An input that goes along with the frames of latents, in another shape: `each` values of its dimension `dim` for a frame. To a net the
    `first` frames of what it is shown have none."""

    dim: int
    each: int = 1
    first: int = 0

    def take(self, x: Tensor, frames: Sequence[int]) -> Tensor:
        """Those of these frames, as far as x has them."""
        values = [max(0, at - self.first) * self.each + i for at in frames[self.first :] for i in range(self.each)]
        return x.index_select(self.dim, torch.tensor([at for at in values if at < x.shape[self.dim]], dtype=torch.long, device=x.device))


@dataclass(frozen=True, eq=False)
class Window:
    """`rows` maps a dimension of the latents [B, C, ...] of the whole `shape` to the positions taken along it."""

    shape: tuple[int, ...]
    rows: Mapping[int, Sequence[int]]

    def take(self, x: Tensor) -> Tensor:
        """The window of x, which has the latents' dimensions; a dimension of another length than theirs is left whole."""
        for dim, positions in self.rows.items():
            if x.ndim == len(self.shape) and x.shape[dim] == self.shape[dim]:
                x = x.index_select(dim, torch.tensor(list(positions), device=x.device))
        return x

    def add(self, total: Tensor, part: Tensor) -> None:
        """Add `part` into the whole, in place, at the window's positions."""
        where = [slice(None)] * total.ndim
        if len(self.rows) == 1:
            ((dim, positions),) = self.rows.items()
            total.index_add_(dim, torch.tensor(list(positions), device=total.device), part.expand(self._part(total)))
            return
        grids = torch.meshgrid(*(torch.tensor(list(p), device=total.device) for p in self.rows.values()), indexing="ij")
        index: list[slice | Tensor] = list(where)
        for dim, grid in zip(self.rows, grids, strict=True):
            index[dim] = grid
        # advanced indices at neighbouring dimensions keep their place, so the part lines up with the selection
        total[tuple(index)] += part

    def _part(self, total: Tensor) -> tuple[int, ...]:
        return tuple(len(self.rows[d]) if d in self.rows else size for d, size in enumerate(total.shape))

    def entry(self, entry: Entry, along: Mapping[str, Along] | None = None) -> Entry | None:
        """The entry inside the window, or None where it does not apply. An area becomes a weight: the entry sees the whole window. `along`
        names inputs that go along with the frames."""
        weight = entry.weight
        if entry.area is not None:
            n = len(entry.area) // 2
            if weight is None:
                weight = torch.ones(1, 1, *entry.area[:n])
            whole = torch.zeros(weight.shape[0], 1, *self.shape[2:], device=weight.device)
            entry.crop(whole).copy_(weight)
            weight = whole
        if weight is not None:
            weight = self._fit(weight)
            if not bool(weight.any()):
                return None
        inputs = {key: self._fit(value) for key, value in entry.inputs.items()}
        if FRAMES in self.rows:
            inputs |= {key: how.take(inputs[key], self.rows[FRAMES]) for key, how in (along or {}).items() if key in inputs}
        return replace(entry, area=None, weight=weight, inputs=inputs)

    def _fit(self, x: Tensor) -> Tensor:
        """Cut what has the latents' own spatial size, or (windows over the batch) a row for each of them."""
        if not isinstance(x, Tensor):
            return x
        if 0 in self.rows and x.shape[0] == self.shape[0] and self.shape[0] > 1:
            x = x.index_select(0, torch.tensor(list(self.rows[0]), device=x.device))
        if x.ndim == len(self.shape) and tuple(x.shape[2:]) == tuple(self.shape[2:]):
            for dim, positions in self.rows.items():
                if dim > 1:
                    x = x.index_select(dim, torch.tensor(list(positions), device=x.device))
        return x

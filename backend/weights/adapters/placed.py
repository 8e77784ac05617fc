"""Adapters that were made for a part of a weight: a net may keep queries, keys and values in one tensor where the adapter's has three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from backend.weights.adapters.kinds import Adapter
from backend.weights.adapters.names import Place, Rows
from backend.weights.slot import RowChange


def placed(adapter: Adapter, place: Place) -> Adapter:
    """The adapter as a change of the whole weight at `place`."""
    if isinstance(place, str):
        return adapter
    return WithinRows(adapter, place.start, place.count) if isinstance(place, Rows) else OtherOrder(adapter, place.order)


@dataclass(frozen=True, eq=False)
class WithinRows(Adapter):
    """`inner` changes rows `start` to `start + count`; the others stay as they are."""

    inner: Adapter
    start: int
    count: int

    @property
    def size(self) -> tuple[int, int | None]:
        return self.inner.size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return bool(shape) and shape[0] >= self.start + self.count and self.inner.fits((self.count, *shape[1:]))

    def change(self, w: Tensor) -> Tensor:
        whole = torch.zeros_like(w)
        whole[self.start : self.start + self.count] = self.inner.change(w[self.start : self.start + self.count])
        return whole

    def apply(self, w: Tensor, strength: float) -> Tensor:
        rows = w[self.start : self.start + self.count]
        changed = self.inner.apply(rows, strength)
        if changed.data_ptr() != rows.data_ptr():
            rows.copy_(changed)
        return w

    def by_rows(self, strength: float) -> RowChange | None:
        inner = self.inner.by_rows(strength)
        if inner is None:
            return None

        def change(rows: Tensor, start: int) -> None:
            first, last = max(start, self.start), min(start + len(rows), self.start + self.count)
            if first < last:
                inner(rows[first - start : last - start], first - self.start)

        return change

    def thin(self, strength: float, rows: int) -> tuple[Tensor, Tensor] | None:
        inner = self.inner.thin(strength, self.count)
        if inner is None:
            return None
        return pad(inner[0], (0, 0, self.start, rows - self.start - self.count)), inner[1]


@dataclass(frozen=True, eq=False)
class OtherOrder(Adapter):
    """`inner` was made for the weight with its equal parts in another order: the i-th part here is its part number `order[i]`."""

    inner: Adapter
    order: tuple[int, ...]

    @property
    def size(self) -> tuple[int, int | None]:
        return self.inner.size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.inner.fits(shape)

    def change(self, w: Tensor) -> Tensor:
        theirs = self._sorted(w, [self.order.index(i) for i in range(len(self.order))])
        return self._sorted(self.inner.change(theirs), self.order)

    def _sorted(self, w: Tensor, order: Sequence[int]) -> Tensor:
        parts = w.chunk(len(order))
        return torch.cat([parts[i] for i in order])


@dataclass(frozen=True, eq=False)
class Several(Adapter):
    """Adapters of parts of one weight, one after the other."""

    parts: tuple[Adapter, ...]

    @property
    def size(self) -> tuple[int, int | None]:
        return self.parts[0].size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return all(part.fits(shape) for part in self.parts)

    def change(self, w: Tensor) -> Tensor:
        changed = w.clone()
        for part in self.parts:
            changed = part.apply(changed, 1.0)
        return changed - w

    def apply(self, w: Tensor, strength: float) -> Tensor:
        for part in self.parts:
            w = part.apply(w, strength)
        return w

    def by_rows(self, strength: float) -> RowChange | None:
        changes = [found for part in self.parts if (found := part.by_rows(strength)) is not None]
        if len(changes) < len(self.parts):
            return None

        def change(rows: Tensor, start: int) -> None:
            for one in changes:
                one(rows, start)

        return change

    def thin(self, strength: float, rows: int) -> tuple[Tensor, Tensor] | None:
        found = [pair for part in self.parts if (pair := part.thin(strength, rows)) is not None]
        if len(found) < len(self.parts):
            return None
        return torch.cat([up for up, _ in found], 1), torch.cat([down for _, down in found])


def together(first: Adapter, second: Adapter) -> Adapter:
    """Both, on one weight."""
    return Several((*(first.parts if isinstance(first, Several) else (first,)), second))

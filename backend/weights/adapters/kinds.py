"""The kinds of adapters as formulas. Each says how it changes a weight; originals are never written to.

W is the original weight [out, in] or [out, in, kh, kw], in float32, s the strength, α/r the scale written in the file.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor

from backend.weights.slot import Delta, RowChange


class Adapter(ABC):
    """One change to one weight."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int | None]:
        """Rows and columns of the weights it changes; columns count all inputs of a kernel; None where any number will do."""

    @abstractmethod
    def change(self, w: Tensor) -> Tensor:
        """ΔW at strength 1, float32, in the shape of w and on its device."""

    def apply(self, w: Tensor, strength: float) -> Tensor:
        """W + s ΔW, written into w: a slot hands over a private copy (see backend.weights.slot)."""
        return w.add_(self.change(w), alpha=strength)

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a weight of this shape can be changed."""
        rows, columns = self.size
        return bool(shape) and shape[0] == rows and (columns is None or math.prod(shape[1:]) == columns)

    def by_rows(self, strength: float) -> RowChange | None:
        """`apply` for some rows at a time, or None where it needs all of them."""
        return None

    def thin(self, strength: float, rows: int) -> tuple[Tensor, Tensor] | None:
        """up [rows, r] and down [r, columns] whose product is s ΔW for a matrix of so many rows, or None where it is no such product."""
        return None

    def delta(self, strength: float, fingerprint: str) -> Delta:
        """The change as a function of the original weight. Two are equal when strength and fingerprint are."""
        return AdapterDelta(strength, fingerprint, self)


@dataclass(frozen=True)
class AdapterDelta:
    """An adapter at a strength."""

    strength: float
    fingerprint: str
    adapter: Adapter = field(compare=False, repr=False)

    def __call__(self, w: Tensor) -> Tensor:
        return self.adapter.apply(w, self.strength)

    def by_rows(self) -> RowChange | None:
        return self.adapter.by_rows(self.strength)

    def thin(self, rows: int) -> tuple[Tensor, Tensor] | None:
        return self.adapter.thin(self.strength, rows)


def on(w: Tensor, t: Tensor) -> Tensor:
    """t in float32 where w is."""
    return t.to(device=w.device, dtype=torch.float32)


def matrix(t: Tensor) -> Tensor:
    """A factor as a matrix; kernels of 1x1 and the inputs of a kernel lie in the columns."""
    return t.flatten(1)


@dataclass(frozen=True, eq=False)
class LowRank(Adapter):
    """LoRA (Hu et al. 2021, arXiv:2106.09685, eq. 3) and LoCon: ΔW = α/r · up · down.

    up [out, r], down [r, in·kh·kw]. With `mid` [r, r, kh, kw] (Tucker form) up and down are 1x1 kernels around it.
    """

    up: Tensor
    down: Tensor
    scale: float
    mid: Tensor | None = None

    @property
    def size(self) -> tuple[int, int | None]:
        kernel = 1 if self.mid is None else math.prod(self.mid.shape[2:])
        return self.up.shape[0], matrix(self.down).shape[1] * kernel

    def factors(self, w: Tensor) -> tuple[Tensor, Tensor]:
        """Two matrices whose product has the shape of matrix(w)."""
        up, down = matrix(on(w, self.up)), matrix(on(w, self.down))
        if self.mid is None:
            return up, down
        return up, torch.einsum("pqhw,qi->pihw", on(w, self.mid), down).flatten(1)

    def change(self, w: Tensor) -> Tensor:
        up, down = self.factors(w)
        return (up @ down).mul_(self.scale).reshape(w.shape)

    def apply(self, w: Tensor, strength: float) -> Tensor:
        up, down = self.factors(w)
        w.view(w.shape[0], -1).addmm_(up, down, alpha=strength * self.scale)
        return w

    def by_rows(self, strength: float) -> RowChange:
        up, down = self.factors(torch.empty(0))

        def change(rows: Tensor, start: int) -> None:
            rows.addmm_(up[start : start + len(rows)], down, alpha=strength * self.scale)

        return change

    def thin(self, strength: float, rows: int) -> tuple[Tensor, Tensor] | None:
        up, down = self.factors(torch.empty(0))
        return up * (strength * self.scale), down


@dataclass(frozen=True, eq=False)
class Product:
    """A matrix or kernel given whole, as a product a·b, or in Tucker form: Σ t[i,j,...] a[i,out] b[j,in]."""

    whole: Tensor | None = None
    a: Tensor | None = None
    b: Tensor | None = None
    t: Tensor | None = None

    @property
    def rank(self) -> int | None:
        return None if self.b is None else self.b.shape[0]

    @property
    def size(self) -> tuple[int, int]:
        if self.whole is not None:
            return self.whole.shape[0], matrix(self.whole).shape[1]
        assert self.a is not None and self.b is not None
        if self.t is None:
            return self.a.shape[0], matrix(self.b).shape[1]
        return self.a.shape[1], self.b.shape[1] * math.prod(self.t.shape[2:])

    def value(self, w: Tensor) -> Tensor:
        if self.whole is not None:
            return on(w, self.whole)
        assert self.a is not None and self.b is not None
        a, b = on(w, self.a), on(w, self.b)
        return a @ matrix(b) if self.t is None else torch.einsum("ij...,ip,jq->pq...", on(w, self.t), a, b)


@dataclass(frozen=True, eq=False)
class Hadamard(Adapter):
    """LoHa (Hyeon-Woo et al. 2022, arXiv:2108.06098, eq. 2): ΔW = α/r · (a₁ b₁) ∘ (a₂ b₂)."""

    first: Product
    second: Product
    scale: float

    @property
    def size(self) -> tuple[int, int | None]:
        return self.first.size

    def change(self, w: Tensor) -> Tensor:
        return (self.first.value(w).flatten(1) * self.second.value(w).flatten(1)).mul_(self.scale).reshape(w.shape)


@dataclass(frozen=True, eq=False)
class Kronecker(Adapter):
    """LoKr (Yeh et al. 2024, arXiv:2309.14859, eq. 6): ΔW = α/r · w₁ ⊗ w₂. The scale is 1 where neither is factorised."""

    first: Product
    second: Product
    scale: float

    @property
    def size(self) -> tuple[int, int | None]:
        (r1, c1), (r2, c2) = self.first.size, self.second.size
        return r1 * r2, c1 * c2

    def change(self, w: Tensor) -> Tensor:
        first, second = self.first.value(w), self.second.value(w)
        if w.dim() > 2 and second.dim() == 2 and w[0, 0].numel() > 1:
            second = second.reshape(second.shape[0], -1, *w.shape[2:])
        first = first.reshape(*first.shape[:2], *[1] * (second.dim() - 2))
        return torch.kron(first, second.contiguous()).mul_(self.scale).reshape(w.shape)


@dataclass(frozen=True, eq=False)
class Difference(Adapter):
    """ΔW written out."""

    value: Tensor

    @property
    def size(self) -> tuple[int, int | None]:
        return self.value.shape[0], math.prod(self.value.shape[1:])

    def change(self, w: Tensor) -> Tensor:
        return on(w, self.value).reshape(w.shape)

    def by_rows(self, strength: float) -> RowChange | None:
        value = self.value.reshape(len(self.value), -1)

        def change(rows: Tensor, start: int) -> None:
            rows.add_(value[start : start + len(rows)].float(), alpha=strength)

        return change


@dataclass(frozen=True, eq=False)
class Replacement(Difference):
    """The weight is replaced, whatever the strength."""

    def change(self, w: Tensor) -> Tensor:
        return super().change(w) - w

    def apply(self, w: Tensor, strength: float) -> Tensor:
        return super().change(w).clone()

    def by_rows(self, strength: float) -> RowChange | None:
        return None


@dataclass(frozen=True, eq=False)
class Decomposed(Adapter):
    """DoRA (Liu et al. 2024, arXiv:2402.09353, eq. 5): W' = m V / ‖V‖ with V = W + ΔW of the inner adapter.

    The norm is taken per output row where `magnitude` has one value per row ([out] or [out, 1, ...]), else per input column
    ([1, in, ...]).
    """

    inner: Adapter
    magnitude: Tensor

    @property
    def size(self) -> tuple[int, int | None]:
        return self.inner.size

    def fits(self, shape: tuple[int, ...]) -> bool:
        return self.inner.fits(shape) and self.magnitude.numel() == (shape[0] if self.by_row() else shape[1])

    def by_row(self) -> bool:
        m = self.magnitude
        return m.dim() == 1 or m.shape[0] == m.numel() > 1 or m.shape[1] == 1

    def change(self, w: Tensor) -> Tensor:
        v = w + self.inner.change(w)
        axis = 0 if self.by_row() else 1
        shape = [-1 if i == axis else 1 for i in range(w.dim())]
        norm = torch.linalg.vector_norm(v, dim=[i for i in range(w.dim()) if i != axis], keepdim=True)
        scaled: Tensor = v * (on(w, self.magnitude).reshape(shape) / (norm + torch.finfo(torch.float32).eps))
        return scaled - w

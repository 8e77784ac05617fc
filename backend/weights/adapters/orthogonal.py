"""Adapters that turn the rows of a weight by orthogonal matrices, made skew-symmetric by Cayley's transform."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.weights.adapters.kinds import Adapter, on


def cayley(blocks: Tensor, constraint: float) -> Tensor:
    """(I + Q)(I - Q)⁻¹ per block [..., b, b], with Q = blocks - blocksᵀ shortened to the norm `constraint` where that is above 0."""
    q = blocks - blocks.transpose(-1, -2)
    norm = float(q.detach().norm())
    if 0 < constraint < norm:
        q = q * (constraint / norm)
    one = torch.eye(q.shape[-1], device=q.device)
    turn: Tensor = (one + q) @ torch.linalg.inv(one - q)
    return turn


def rescaled(w: Tensor, rescale: Tensor | None) -> Tensor:
    """Every row times its factor."""
    return w if rescale is None else w * on(w, rescale).reshape(-1, *[1] * (w.dim() - 1))


@dataclass(frozen=True, eq=False)
class Orthogonal(Adapter):
    """OFT (Qiu et al. 2023, arXiv:2306.07280): W' = diag(R₁ ... Rₙ)ᵀ W for blocks [n, b, b]."""

    blocks: Tensor
    constraint: float = 0.0
    rescale: Tensor | None = None

    @property
    def size(self) -> tuple[int, int | None]:
        return self.blocks.shape[0] * self.blocks.shape[1], None

    def change(self, w: Tensor) -> Tensor:
        r = cayley(on(w, self.blocks), self.constraint)
        turned = torch.einsum("knm,knc->kmc", r, w.reshape(r.shape[0], r.shape[1], -1)).reshape(w.shape)
        return rescaled(turned, self.rescale) - w


@dataclass(frozen=True, eq=False)
class Butterfly(Adapter):
    """BOFT (Liu et al. 2024, arXiv:2311.06243): a product of m orthogonal stages, blocks [m, n, b, b].

    Stage i turns groups of b rows that lie 2^i apart in halves of b/2. The strength moves every stage towards the identity.
    """

    blocks: Tensor
    constraint: float = 0.0
    rescale: Tensor | None = None

    @property
    def size(self) -> tuple[int, int | None]:
        return self.blocks.shape[1] * self.blocks.shape[2], None

    def change(self, w: Tensor) -> Tensor:
        return self.apply(w, 1.0) - w

    def apply(self, w: Tensor, strength: float) -> Tensor:
        r = cayley(on(w, self.blocks), self.constraint)
        r = torch.lerp(torch.eye(r.shape[-1], device=w.device).expand_as(r), r, strength)
        size, rows = r.shape[-1], w.reshape(w.shape[0], -1)
        for i, stage in enumerate(r):
            apart = 2**i * (size // 2)
            mixed = rows.reshape(-1, 2, apart, rows.shape[1]).transpose(1, 2).reshape(-1, size, rows.shape[1])
            mixed = torch.einsum("bij,bjc->bic", stage, mixed)
            rows = mixed.reshape(-1, apart, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)
        return rescaled(rows.reshape(w.shape), self.rescale)

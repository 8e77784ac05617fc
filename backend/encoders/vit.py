"""The block that vision transformers consist of (Dosovitskiy et al. 2021, arXiv:2010.11929)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Layer, LayerNorm, Linear


class Block(Layer):
    """Pre-normed attention and feed forward over [B, T, width]; `scaled` by a learnt factor per channel where the net was trained so.

    The last `expert` channels of the feed forward come from weights of their own, where a net has such for each data set.
    """

    def __init__(self, width: int, heads: int, mlp: int, *, scaled: bool = False, expert: int = 0) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = LayerNorm(width, 1e-6), LayerNorm(width, 1e-6)
        self.q, self.k, self.v, self.out = (Linear(width, width) for _ in range(4))
        self.fc1, self.fc2 = Linear(width, mlp), Linear(mlp, width - expert)
        self.expert = Linear(mlp, expert) if expert else None
        self.scale1, self.scale2 = (nn.Parameter(torch.empty(width)) if scaled else None for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self._scaled("scale1", self.out(attention(self.q(h), self.k(h), self.v(h), self.heads)))
        return x + self._scaled("scale2", self._fed(F.gelu(self.fc1(self.norm2(x)))))

    def _fed(self, h: Tensor) -> Tensor:
        y: Tensor = self.fc2(h)
        return y if self.expert is None else torch.cat([y, self.expert(h)], dim=-1)

    def _scaled(self, name: str, x: Tensor) -> Tensor:
        factor = self.maybe(name, x)
        return x if factor is None else x * factor

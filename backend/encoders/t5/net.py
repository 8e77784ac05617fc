"""The encoder of T5 (Raffel et al. 2020, arXiv:1910.10683), T5 v1.1 (Shazeer 2020, arXiv:2002.05202) and UMT5 (Chung et al. 2023,
arXiv:2304.09151), under the published key names."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Embedding, Linear, RMSNorm

BUCKETS = 32
FARTHEST = 128
"""Tokens farther from each other than this are one bucket (section 2.1)."""
EPS = 1e-6


@dataclass(frozen=True)
class T5Sizes:
    """Everything that differs between encoders of this kind; all of it can be read from shapes."""

    width: int = 4096
    layers: int = 24
    heads: int = 64
    head_width: int = 64
    mlp: int = 10240
    vocabulary: int = 32128
    gated: bool = True
    """GELU times a second product (v1.1 and UMT5), rather than a ReLU alone."""
    own_bias: bool = False
    """Whether every layer has relative places of its own (UMT5), rather than the first one's."""


Vectors = Sequence[tuple[int, int, Tensor]]
"""(row, position, vector [width]): what replaces the embedding of the token at that place."""


class T5Text(nn.Module):
    """Token ids [B, T] to hidden states."""

    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.shared = Embedding(sizes.vocabulary, sizes.width)
        self.encoder = Stack(sizes)

    def forward(self, tokens: Tensor, dtype: torch.dtype, vectors: Vectors = (), mask: Tensor | None = None, layer: int = -1) -> Tensor:
        """Returns [B, T, width] of `layer` from the end, -1 the last, through the final norm. `mask` [B, T] is True for tokens that others
        may look at."""
        x = self.shared(tokens, dtype).float()
        for row, position, vector in vectors:
            x[row, position] = vector.to(x)
        return self.encoder(x, dtype, mask, layer)


class Stack(nn.Module):
    """The layers. What they add up in stays in float32: the larger encoders leave the range of 16 bits."""

    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.block = nn.ModuleList(Block(sizes, sizes.own_bias or i == 0) for i in range(sizes.layers))
        self.final_layer_norm = RMSNorm(sizes.width, EPS)

    def forward(self, x: Tensor, dtype: torch.dtype, mask: Tensor | None, layer: int) -> Tensor:
        buckets = relative_buckets(x.shape[1], x.device)
        hidden = torch.zeros((), dtype=dtype, device=x.device)
        if mask is not None:
            hidden = torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)[:, None, None]
        bias = hidden
        for block in self.block[: len(self.block) + 1 + layer]:
            assert isinstance(block, Block)
            own = block.bias(buckets, dtype)
            bias = bias if own is None else own + hidden
            x = block(x, bias, dtype)
        return self.final_layer_norm(x)


def relative_buckets(length: int, device: torch.device) -> Tensor:
    """[T, T]: which of the 32 kinds of distance lies between a token that looks (rows) and one that is looked at (columns).

    Half are for tokens behind; of a half, the first half are distances of their own, the rest grow geometrically up to FARTHEST.
    """
    at = torch.arange(length, device=device)
    distance = at[None] - at[:, None]
    half = BUCKETS // 2
    near = half // 2
    far = distance.abs()
    steps = torch.log(far.clamp(min=1).float() / near) / math.log(FARTHEST / near) * (half - near)
    bucket = torch.where(far < near, far, (near + steps.long()).clamp(max=half - 1))
    return bucket + half * (distance > 0)


class Block(nn.Module):
    """Self-attention and a perceptron, each pre-normed and residual."""

    def __init__(self, sizes: T5Sizes, biased: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList([AttentionLayer(sizes, biased), PerceptronLayer(sizes)])

    def bias(self, buckets: Tensor, dtype: torch.dtype) -> Tensor | None:
        """[1, heads, T, T], or None for a layer that uses the first one's."""
        attention = self.layer[0]
        assert isinstance(attention, AttentionLayer)
        table = attention.SelfAttention.relative_attention_bias
        return None if table is None else table(buckets, dtype).permute(2, 0, 1)[None]

    def forward(self, x: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        """x [B, T, width] float32; bias broadcasts to [B, heads, T, T]."""
        x = x + self.layer[0](x, bias, dtype)
        return x + self.layer[1](x, dtype)


class AttentionLayer(nn.Module):
    def __init__(self, sizes: T5Sizes, biased: bool) -> None:
        super().__init__()
        self.SelfAttention = SelfAttention(sizes, biased)
        self.layer_norm = RMSNorm(sizes.width, EPS)

    def forward(self, x: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        return self.SelfAttention(self.layer_norm(x).to(dtype), bias)


class SelfAttention(nn.Module):
    """Attention whose scores are not divided by the root of the head's width."""

    def __init__(self, sizes: T5Sizes, biased: bool) -> None:
        super().__init__()
        inner = sizes.heads * sizes.head_width
        self.heads, self.root = sizes.heads, sizes.head_width**0.5
        self.q, self.k, self.v = (Linear(sizes.width, inner, bias=False) for _ in range(3))
        self.o = Linear(inner, sizes.width, bias=False)
        self.relative_attention_bias = Embedding(BUCKETS, sizes.heads) if biased else None

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = (torch.unflatten(part(x), -1, (self.heads, -1)).transpose(1, 2) for part in (self.q, self.k, self.v))
        return self.o(by_head(q * self.root, k, v, bias).transpose(1, 2).flatten(2))


class PerceptronLayer(nn.Module):
    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.DenseReluDense = Gated(sizes) if sizes.gated else Plain(sizes)
        self.layer_norm = RMSNorm(sizes.width, EPS)

    def forward(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return self.DenseReluDense(self.layer_norm(x).to(dtype))


class Gated(nn.Module):
    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = Linear(sizes.width, sizes.mlp, bias=False), Linear(sizes.width, sizes.mlp, bias=False)
        self.wo = Linear(sizes.mlp, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi_0(x), approximate="tanh") * self.wi_1(x))


class Plain(nn.Module):
    def __init__(self, sizes: T5Sizes) -> None:
        super().__init__()
        self.wi, self.wo = Linear(sizes.width, sizes.mlp, bias=False), Linear(sizes.mlp, sizes.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.relu(self.wi(x)))

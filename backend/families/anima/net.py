"""Anima's transformer: that of Cosmos Predict 2, told by an adapter that says a prompt in T5's words as Qwen 3 understands it.

Parameter names are those of the published single files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.cosmos.net import EPS, THETA, CosmosNet, CosmosSizes
from backend.nn.attention import by_head
from backend.nn.layers import Embedding, Linear, RMSNorm
from backend.nn.rope import Turn, turn, turned_halves

LENGTH = 512
"""Tokens that every prompt is filled up to, with nothing, behind the adapter."""


@dataclass(frozen=True)
class AdapterSizes:
    source: int = 1024
    """Width of the language model's states."""
    width: int = 1024
    target: int = 1024
    """Width of the words it begins with, and of what it says."""
    heads: int = 16
    layers: int = 6
    hidden: int = 4096
    words: int = 32128


@dataclass(frozen=True)
class AnimaSizes(CosmosSizes):
    adapter: AdapterSizes = AdapterSizes()


class Attention(nn.Module):
    """Queries and keys are normalised head by head and turn with their places, each in its own text."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.o_proj = Linear(width, width, bias=False), Linear(width, width, bias=False)
        self.k_proj, self.v_proj = Linear(context, width, bias=False), Linear(context, width, bias=False)
        self.q_norm, self.k_norm = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, context: Tensor, turns: tuple[Turn, Turn], real: Tensor) -> Tensor:
        """x [B, T, width], context [B, S, ...], their turns, and which tokens of the context are no filling [B, S]."""
        q, k, v = (
            part(given).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part, given in ((self.q_proj, x), (self.k_proj, context), (self.v_proj, context))
        )
        q, k = turned_halves(self.q_norm(q), turns[0]), turned_halves(self.k_norm(k), turns[1])
        return self.o_proj(by_head(q, k, v, real[:, None, None]).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Words look at each other, then at what the language model understood."""

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.norm_self_attn, self.norm_cross_attn, self.norm_mlp = (RMSNorm(sizes.width, EPS) for _ in range(3))
        self.self_attn = Attention(sizes.width, sizes.heads, sizes.width)
        self.cross_attn = Attention(sizes.width, sizes.heads, sizes.source)
        self.mlp = nn.ModuleList([Linear(sizes.width, sizes.hidden), nn.Identity(), Linear(sizes.hidden, sizes.width)])

    def forward(self, x: Tensor, states: Tensor, turns: tuple[Turn, Turn], words: Tensor, real: Tensor) -> Tensor:
        h = self.norm_self_attn(x)
        x = x + self.self_attn(h, h, (turns[0], turns[0]), words)
        x = x + self.cross_attn(self.norm_cross_attn(x), states, turns, real)
        return x + self.mlp[2](F.gelu(self.mlp[0](self.norm_mlp(x))))


class Adapter(nn.Module):
    """(words [B, T], their weights [B, T], states of the language model [B, S, source], which of those are no filling [B, S])
    -> tokens [B, at least LENGTH, target]. Words below 0 are filling."""

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.embed = Embedding(sizes.words, sizes.target)
        self.in_proj = Linear(sizes.target, sizes.width) if sizes.width != sizes.target else nn.Identity()
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.out_proj, self.norm = Linear(sizes.width, sizes.target), RMSNorm(sizes.target, EPS)
        self.head = sizes.width // sizes.heads

    def forward(self, words: Tensor, weights: Tensor, states: Tensor, real: Tensor) -> Tensor:
        turns = (self._turn(words.shape[1], states.device), self._turn(states.shape[1], states.device))
        said = words >= 0
        x = self.in_proj(self.embed(words.clamp(min=0), states.dtype))
        for block in self.blocks:
            x = block(x, states, turns, said, real)
        x = self.norm(self.out_proj(x)) * (weights * said).unsqueeze(-1)
        return F.pad(x, (0, 0, 0, max(0, LENGTH - x.shape[1])))

    def _turn(self, length: int, device: torch.device) -> Turn:
        return turn(torch.arange(length, device=device).unsqueeze(-1), (self.head,), THETA)


class AnimaNet(CosmosNet):
    """(x [B, channels, T, H, W], t in 0..1 [B], words, weights, states, real: see Adapter) -> velocity like x."""

    def __init__(self, sizes: AnimaSizes) -> None:
        super().__init__(sizes)
        self.llm_adapter = Adapter(sizes.adapter)

    def forward(  # type: ignore[override]
        self, x: Tensor, t: Tensor, words: Tensor, weights: Tensor, states: Tensor, real: Tensor, **more: Any
    ) -> Tensor:
        return super().forward(x, t, self.llm_adapter(words, weights, states, real), **more)

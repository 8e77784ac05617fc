"""The prior of unCLIP: a causal transformer that says which picture, as CLIP sees it, a text means.

Ramesh et al. 2022 (arXiv:2204.06125), section 2.2. Names are diffusers'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, LayerNorm, Linear

EXTRA = 4
"""Tokens after the text's: its projection, the time, the noisy embedding, and the place of the answer."""


@dataclass(frozen=True)
class PriorSizes:
    """Everything that differs between priors, and what embeddings are normalised by."""

    embed: int = 768
    """Width of the embedding of a picture."""
    width: int = 2048
    text: int = 768
    pooled: int = 768
    tokens: int = 77
    layers: int = 20
    head_dim: int = 64
    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


class Attention(nn.Module):
    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.heads = max(1, width // head_dim)
        self.to_q, self.to_k, self.to_v = Linear(width, width), Linear(width, width), Linear(width, width)
        self.to_out = nn.ModuleList([Linear(width, width)])

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.to_out[0](attention(self.to_q(x), self.to_k(x), self.to_v(x), self.heads, mask))


class Inner(nn.Module):
    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.proj = Linear(cin, cout)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x))


class FeedForward(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Inner(width, width * 4), nn.Identity(), Linear(width * 4, width)])

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.net:
            x = layer(x)
        return x


class Block(nn.Module):
    """Attention and a feed-forward, each pre-normed and residual; x [B, T, width]."""

    def __init__(self, width: int, head_dim: int) -> None:
        super().__init__()
        self.norm1, self.norm3 = LayerNorm(width), LayerNorm(width)
        self.attn1, self.ff = Attention(width, head_dim), FeedForward(width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attn1(self.norm1(x), mask)
        return x + self.ff(self.norm3(x))


class Time(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(width, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class Prior(Layer):
    """A noisy embedding x [B, embed] at timesteps t [B] -> the clean one [B, embed]."""

    def __init__(self, sizes: PriorSizes) -> None:
        super().__init__()
        self.sizes, width = sizes, sizes.width
        self.positional_embedding = nn.Parameter(torch.empty(1, sizes.tokens + EXTRA, width))
        self.prd_embedding = nn.Parameter(torch.empty(1, 1, width))
        self.time_embedding = Time(width)
        self.proj_in, self.embedding_proj = Linear(sizes.embed, width), Linear(sizes.pooled, width)
        self.encoder_hidden_states_proj = Linear(sizes.text, width)
        self.transformer_blocks = nn.ModuleList(Block(width, sizes.head_dim) for _ in range(sizes.layers))
        self.norm_out = LayerNorm(width)
        self.proj_to_clip_embeddings = Linear(width, sizes.embed)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, y: Tensor, real: Tensor) -> Tensor:
        """With the text [B, tokens, text], its projection y [B, pooled], and which of its tokens are real [B, tokens] (1, else 0)."""
        time = self.time_embedding(timestep_embedding(t, self.sizes.width).to(x.dtype))
        answer = self.get("prd_embedding", x).expand(len(x), -1, -1)
        told = [self.embedding_proj(y.to(x.dtype)), time, self.proj_in(x)]
        h = torch.cat([self.encoder_hidden_states_proj(context), *(part[:, None] for part in told), answer], dim=1)
        h = h + self.get("positional_embedding", x)
        length = h.shape[1]
        earlier = torch.ones(length, length, dtype=torch.bool, device=x.device).tril()
        mask = F.pad(real > 0.5, (0, EXTRA), value=True)[:, None, None] & earlier
        for block in self.transformer_blocks:
            h = block(h, mask)
        return self.proj_to_clip_embeddings(self.norm_out(h)[:, -1])

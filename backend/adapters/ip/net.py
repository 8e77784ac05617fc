"""The weights of IP-Adapter (Ye et al. 2023, arXiv:2308.06721): from an encoded picture to tokens, and from tokens to keys and values.

Parameter names are those of the published files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Layer, LayerNorm, Linear

Projection = Literal["base", "plus", "full", "face", "face plus"]
HEAD_WIDTH = 64


@dataclass(frozen=True)
class IPSizes:
    """Everything that differs; all can be read from shapes."""

    projection: Projection
    cin: int
    """Width of what the image encoder (or, for faces, the face recogniser) gives."""
    context: int
    """Width of the text that the model reads, and so of the tokens."""
    tokens: int
    """Tokens a picture becomes; for "full" as many as it has patches."""
    layers: tuple[tuple[str, int], ...]
    """Number in the file and width of every cross-attention that has keys and values for pictures."""
    width: int = 0
    """Of the resampler's inside."""
    depth: int = 4
    clip: int = 0
    """Width of the image encoder's states, for "face plus"."""
    hidden: int = 0
    """Width of the perceptron's inside."""


class IPAdapterNet(nn.Module):
    """Encoded pictures -> keys and values for every cross-attention, in the order of the file."""

    def __init__(self, sizes: IPSizes) -> None:
        super().__init__()
        s, self.sizes = sizes, sizes
        if s.projection == "plus":
            self.image_proj: nn.Module = Resampler(s.cin, s.width, s.context, s.tokens, s.depth)
        elif s.projection == "full":
            self.image_proj = Perceptron(s.cin, s.hidden, s.context)
        elif s.projection == "base":
            self.image_proj = Tokens(s.cin, s.context, s.tokens)
        else:
            self.image_proj = FaceTokens(s)
        self.ip_adapter = nn.ModuleDict({number: KeyValue(s.context, width) for number, width in s.layers})

    def forward(self, x: Tensor, states: Tensor | None = None, shortcut: bool = False) -> list[tuple[Tensor, Tensor]]:
        """x [B, cin] (base, face) or [B, positions, cin] (plus, full); `states` [B, positions, clip] for face plus.

        Keys and values are [B, tokens, width].
        """
        tokens = self.image_proj(x, states, shortcut) if isinstance(self.image_proj, FaceTokens) else self.image_proj(x)
        return [pair(tokens) for pair in self.ip_adapter.values()]


class KeyValue(nn.Module):
    """Keys and values of one cross-attention."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.to_k_ip, self.to_v_ip = Linear(context, width, bias=False), Linear(context, width, bias=False)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        return self.to_k_ip(tokens), self.to_v_ip(tokens)


class Tokens(nn.Module):
    """[B, cin] -> [B, tokens, context]: one linear layer and a norm."""

    def __init__(self, cin: int, context: int, tokens: int) -> None:
        super().__init__()
        self.tokens, self.context = tokens, context
        self.proj, self.norm = Linear(cin, context * tokens), LayerNorm(context)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).reshape(-1, self.tokens, self.context))


class Perceptron(nn.Module):
    """[B, positions, cin] -> [B, positions, context]."""

    def __init__(self, cin: int, hidden: int, context: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList([Linear(cin, hidden), nn.Identity(), Linear(hidden, context), LayerNorm(context)])

    def forward(self, x: Tensor) -> Tensor:
        return self.proj[3](self.proj[2](F.gelu(self.proj[0](x))))


class FaceTokens(nn.Module):
    """A face's identity [B, cin] -> [B, tokens, context]; "face plus" asks the picture's states about it."""

    def __init__(self, s: IPSizes) -> None:
        super().__init__()
        self.tokens, self.context = s.tokens, s.context
        self.proj = nn.ModuleList([Linear(s.cin, s.hidden), nn.Identity(), Linear(s.hidden, s.context * s.tokens)])
        self.norm = LayerNorm(s.context)
        if s.projection == "face plus":
            self.perceiver_resampler = Perceiver(s.clip, s.context, s.context, s.depth)

    def forward(self, x: Tensor, states: Tensor | None, shortcut: bool) -> Tensor:
        tokens = self.norm(self.proj[2](F.gelu(self.proj[0](x))).reshape(-1, self.tokens, self.context))
        if states is None:
            return tokens
        seen = self.perceiver_resampler.ask(tokens, states)
        return tokens + seen if shortcut else seen


class Perceiver(Layer):
    """Tokens that look at states through layers of cross-attention (Jaegle et al. 2021)."""

    def __init__(self, cin: int, width: int, context: int, depth: int) -> None:
        super().__init__()
        self.proj_in, self.proj_out, self.norm_out = Linear(cin, width), Linear(width, context), LayerNorm(context)
        self.layers = nn.ModuleList(PerceiverLayer([Look(width), FeedForward(width)]) for _ in range(depth))

    def ask(self, tokens: Tensor, states: Tensor) -> Tensor:
        x = self.proj_in(states)
        for layer in self.layers:
            tokens = layer(x, tokens)
        return self.norm_out(self.proj_out(tokens))


class Resampler(Perceiver):
    """A perceiver whose tokens are learned: [B, positions, cin] -> [B, tokens, context]."""

    def __init__(self, cin: int, width: int, context: int, tokens: int, depth: int) -> None:
        super().__init__(cin, width, context, depth)
        self.latents = nn.Parameter(torch.empty(1, tokens, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.ask(self.get("latents", x).expand(x.shape[0], -1, -1), x)


class Look(nn.Module):
    """Attention of tokens to states and tokens, heads of 64."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.to_q, self.to_kv, self.to_out = (Linear(width, width * n, bias=False) for n in (1, 2, 1))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        x, tokens = self.norm1(x), self.norm2(tokens)
        k, v = self.to_kv(torch.cat([x, tokens], dim=1)).chunk(2, dim=-1)
        return self.to_out(attention(self.to_q(tokens), k, v, max(1, k.shape[-1] // HEAD_WIDTH)))


class FeedForward(nn.ModuleList):
    """Norm, width -> 4 width, GELU, back."""

    def __init__(self, width: int) -> None:
        wide, narrow = Linear(width, width * 4, bias=False), Linear(width * 4, width, bias=False)
        super().__init__([LayerNorm(width), wide, nn.Identity(), narrow])

    def forward(self, x: Tensor) -> Tensor:
        return self[3](F.gelu(self[1](self[0](x))))


class PerceiverLayer(nn.ModuleList):
    """A look and a feed-forward, each residual."""

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        tokens = tokens + self[0](x, tokens)
        return tokens + self[1](tokens)

"""Fibo 2's transformer: Z-Image's blocks, told by a gist of the prompt and, here and there, by the prompt itself. Names as published."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.z_image.net import EPS, THETA, FinalLayer, TimeEmbedder
from backend.nn.attention import by_head
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.rope import Turn, grid, turn, turned
from backend.nn.sandwich import Modulation, SandwichBlock, SwiGLU, modulation

FEWEST, STEP = 256, 64
"""Gist tokens of a short prompt, and how many are added at once."""
SHORT, LONG = 256, 2048
"""Tokens of a prompt that gets the fewest gist tokens, and the most."""


Time = tuple[Tensor, Tensor, Tensor | None]
"""The embedded time of noisy tokens and of clean ones, [B, told] each, and which tokens are noisy [T] where not all are."""


@dataclass(frozen=True)
class Fibo2Sizes:
    channels: int
    """Of a token, whose patch lies in one cell."""
    width: int
    heads: int
    hidden: int
    layers: int
    refiners: int
    context: int
    told: int
    time_hidden: int
    gists: int
    """The most gist tokens there are."""
    perceivers: int
    injected: tuple[int, ...]
    """Blocks that read the prompt."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the token's number, row and column."""
        head = self.width // self.heads
        return head // 4, head * 3 // 8, head * 3 // 8


class Attention(nn.Module):
    """Attention of x to itself, or to `other`, which is `other_width` wide."""

    def __init__(self, width: int, heads: int, other_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_out = Linear(width, width, bias=False), nn.ModuleList([Linear(width, width, bias=False)])
        self.to_k, self.to_v = (Linear(other_width or width, width, bias=False) for _ in range(2))
        self.norm_q, self.norm_k = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, by: Turn | None = None, mask: Tensor | None = None, other: Tensor | None = None) -> Tensor:
        seen = x if other is None else other
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.to_q(x), self.to_k(seen), self.to_v(seen)))
        q, k = self.norm_q(q), self.norm_k(k)
        if by is not None:
            q, k = turned(q, by), turned(k, by)
        return self.to_out[0](by_head(q, k, v, mask).transpose(1, 2).flatten(2))


class Block(SandwichBlock):
    """A block of Z-Image that tells noisy tokens from clean ones."""

    def __init__(self, sizes: Fibo2Sizes) -> None:
        super().__init__(Attention(sizes.width, sizes.heads), sizes.width, sizes.hidden, EPS)
        self.adaLN_modulation = nn.ModuleList([Linear(sizes.told, 4 * sizes.width)])

    def modulation(self, noisy: Tensor, clean: Tensor, is_noisy: Tensor | None) -> Modulation:
        """By token where some are noisy [T] and some are not."""
        numbers = self.adaLN_modulation[0](noisy).unsqueeze(1)
        if is_noisy is None:
            return modulation(numbers)
        return modulation(torch.where(is_noisy[None, :, None], numbers, self.adaLN_modulation[0](clean).unsqueeze(1)))

    def forward(self, x: Tensor, by: Turn, time: Time, text: Tensor | None = None, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        told = self.modulation(*time)
        return self.think(self.attend(x, by, told), told)


class ReadingBlock(Block, Layer):
    """A block that looks at the prompt between attention and perceptron, by as much as was learnt."""

    def __init__(self, sizes: Fibo2Sizes) -> None:
        super().__init__(sizes)
        self.cross_attn_norm1, self.cross_attn_norm2 = RMSNorm(sizes.width, EPS), RMSNorm(sizes.width, EPS)
        self.cross_attention = Attention(sizes.width, sizes.heads, sizes.context)
        self.cross_attn_gate = nn.Parameter(torch.empty(1))

    def forward(self, x: Tensor, by: Turn, time: Time, text: Tensor | None = None, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        told = self.modulation(*time)
        x = self.attend(x, by, told)
        seen = self.cross_attn_norm2(self.cross_attention(self.cross_attn_norm1(x), mask=mask, other=text))
        return self.think(x + self.get("cross_attn_gate", x).tanh() * seen, told)


class PerceiverLayer(nn.Module):
    def __init__(self, sizes: Fibo2Sizes) -> None:
        super().__init__()
        self.cross_attn_norm, self.self_attn_norm, self.ffn_norm = (RMSNorm(sizes.width, EPS) for _ in range(3))
        self.cross_attention = Attention(sizes.width, sizes.heads, sizes.context)
        self.self_attention = Attention(sizes.width, sizes.heads)
        self.ffn = SwiGLU(sizes.width, sizes.hidden)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        x = x + self.cross_attention(self.cross_attn_norm(x), mask=mask, other=text)
        x = x + self.self_attention(self.self_attn_norm(x))
        return x + self.ffn(self.ffn_norm(x))


class Perceiver(Layer):
    """A prompt [B, L, context] in `count` gist tokens [B, count, width]."""

    def __init__(self, sizes: Fibo2Sizes) -> None:
        super().__init__()
        self.latent_queries = nn.Parameter(torch.empty(sizes.gists, sizes.width))
        self.layers = nn.ModuleList(PerceiverLayer(sizes) for _ in range(sizes.perceivers))
        self.norm_out = RMSNorm(sizes.width, EPS)

    def forward(self, text: Tensor, count: int, mask: Tensor | None) -> Tensor:
        x = self.get("latent_queries", text)[:count].expand(len(text), -1, -1)
        for layer in self.layers:
            x = layer(x, text, mask)
        return self.norm_out(x)


def gists(tokens: int, most: int) -> int:
    """How many gist tokens a prompt of so many tokens gets: more the longer it is, in whole steps."""
    fewest = min(FEWEST, most)
    share = min(1.0, max(0.0, (tokens - SHORT) / (LONG - SHORT)))
    return max(fewest, min(most, math.ceil((fewest + share * (most - fewest)) / STEP) * STEP))


class Fibo2Net(nn.Module):
    """(x [B, C, H, W] with a patch's channels in one cell, time in 0..1 [B] (1: noise), context [B, L, bundles * width of the text],
    real [B, L]: which tokens are no filling (None: all), pictures: clean latents to edit, each [B, C, h, w]) -> velocity towards the noise.

    The first bundle is what the gist is made of; every block that reads the prompt has one of its own, in order.
    """

    def __init__(self, sizes: Fibo2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.x_embedder = Linear(sizes.channels, sizes.width)
        self.t_embedder = TimeEmbedder(sizes.time_hidden, sizes.told)
        self.noise_refiner = nn.ModuleList(Block(sizes) for _ in range(sizes.refiners))
        self.perceiver = Perceiver(sizes)
        self.layers = nn.ModuleList(ReadingBlock(sizes) if i in sizes.injected else Block(sizes) for i in range(sizes.layers))
        self.final_layer = FinalLayer(sizes.width, sizes.told, sizes.channels)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, real: Tensor | None, pictures: Sequence[Tensor] = ()) -> Tensor:
        height, width = x.shape[-2:]
        noisy, clean = self.t_embedder(t * 1000, x.dtype), self.t_embedder(torch.zeros_like(t), x.dtype)
        bundles = context.chunk(1 + len(self.sizes.injected), dim=-1)
        mask = None if real is None else real[:, None, None, :]

        shown = [x, *pictures]
        first = self.sizes.gists + 1
        cells = [grid(picture.shape[-2], picture.shape[-1], first + i, x.device) for i, picture in enumerate(shown)]
        h = self.x_embedder(torch.cat([picture.flatten(2).transpose(1, 2) for picture in shown], dim=1))
        by = turn(torch.cat(cells), self.sizes.axes, THETA)
        is_noisy = torch.arange(h.shape[1], device=x.device) < height * width
        for block in self.noise_refiner:
            h = block(h, by, (noisy, clean, is_noisy if pictures else None))

        count = gists(context.shape[1] if real is None else int(real.sum(1).max()), self.sizes.gists)
        gist = self.perceiver(bundles[0], count, mask)
        numbers = F.pad(torch.arange(1, count + 1, dtype=torch.float32, device=x.device).unsqueeze(-1), (0, 2))
        gist_turn = turn(numbers, self.sizes.axes, THETA)
        by = (torch.cat([gist_turn[0], by[0]]), torch.cat([gist_turn[1], by[1]]))
        is_noisy = F.pad(is_noisy, (count, 0))
        h = torch.cat([gist, h], dim=1)
        own = dict(zip(self.sizes.injected, bundles[1:], strict=True))
        for i, block in enumerate(self.layers):
            h = block(h, by, (noisy, clean, is_noisy), own.get(i), mask)
        out = self.final_layer(h[:, count : count + height * width], noisy)
        return torch.unflatten(out.transpose(1, 2), 2, (height, width))

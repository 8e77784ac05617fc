"""Lumina 2's transformer (Qin et al. 2025, arXiv:2503.21758): one stream of prompt and picture. Names are those of the single files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.z_image.net import FinalLayer, TimeEmbedder
from backend.nn.attention import by_head
from backend.nn.layers import Linear, RMSNorm
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import Turn, grid, turn, turned
from backend.nn.sandwich import SandwichBlock, modulation
from backend.nn.taps import Site

PATCH = 2
THETA = 10000.0
EPS = 1e-5


@dataclass(frozen=True)
class Lumina2Sizes:
    channels: int
    width: int
    heads: int
    kv_heads: int
    hidden: int
    layers: int
    refiners: int
    context: int
    """Width of the text encoder's states."""
    told: int
    """Width of the embedded time."""

    @property
    def head(self) -> int:
        return self.width // self.heads

    @property
    def rows(self) -> tuple[int, int, int]:
        """Of queries, keys and values in their product."""
        few = self.kv_heads * self.head
        return self.width, few, few

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the token's number, row and column."""
        third = self.head // 3
        return third, third, third


class GroupedAttention(nn.Module):
    """Self-attention with queries, keys and values from one product, fewer keys than queries, both normalised head by head."""

    def __init__(self, sizes: Lumina2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.qkv, self.out = Linear(sizes.width, sum(sizes.rows), bias=False), Linear(sizes.width, sizes.width, bias=False)
        self.q_norm, self.k_norm = RMSNorm(sizes.head, EPS), RMSNorm(sizes.head, EPS)

    def forward(self, x: Tensor, by: Turn, mask: Tensor | None = None) -> Tensor:
        parts = self.qkv(x).split(self.sizes.rows, dim=-1)
        q, k, v = (part.unflatten(-1, (-1, self.sizes.head)).transpose(1, 2) for part in parts)
        q, k = turned(self.q_norm(q), by), turned(self.k_norm(k), by)
        group = self.sizes.heads // self.sizes.kv_heads
        k, v = k.repeat_interleave(group, dim=1), v.repeat_interleave(group, dim=1)
        return self.out(by_head(q, k, v, mask).transpose(1, 2).flatten(2))


class LuminaBlock(SandwichBlock):
    """A block that hears of the time, or (`told` 0) does not."""

    def __init__(self, sizes: Lumina2Sizes, told: int) -> None:
        super().__init__(GroupedAttention(sizes), sizes.width, sizes.hidden, EPS)
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(told, 4 * sizes.width)]) if told else None

    def forward(self, x: Tensor, by: Turn, time: Tensor | None = None) -> Tensor:  # type: ignore[override]
        if self.adaLN_modulation is None or time is None:
            return super().forward(x, by)
        return super().forward(x, by, modulation(self.adaLN_modulation[1](F.silu(time))))


class Lumina2Net(nn.Module):
    """(x [B, C, H, W], time in 0..1 [B] (1: clean), context [B, L, width of the text]) -> velocity towards the clean picture [B, C, H, W].

    Taps: "layer_output_patch" f(tokens, facts) after each block of the stream, with `layer_index` and how many tokens are the prompt's.
    """

    def __init__(self, sizes: Lumina2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        patch = sizes.channels * PATCH * PATCH
        self.x_embedder = Linear(patch, sizes.width)
        self.cap_embedder = nn.ModuleList([RMSNorm(sizes.context, EPS), Linear(sizes.context, sizes.width)])
        self.t_embedder = TimeEmbedder(sizes.told, sizes.told)
        self.noise_refiner = nn.ModuleList(LuminaBlock(sizes, sizes.told) for _ in range(sizes.refiners))
        self.context_refiner = nn.ModuleList(LuminaBlock(sizes, 0) for _ in range(sizes.refiners))
        self.layers = nn.ModuleList(LuminaBlock(sizes, sizes.told) for _ in range(sizes.layers))
        self.final_layer = FinalLayer(sizes.width, sizes.told, patch)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, taps: Any = None, facts: dict[str, Any] | None = None) -> Tensor:
        height, width = x.shape[-2:]
        x = fitted(x, PATCH)
        tall, wide = x.shape[-2:]
        time = self.t_embedder(t, x.dtype)

        text = self.cap_embedder[1](self.cap_embedder[0](context))
        length = text.shape[1]
        places = torch.zeros(length, 3, device=x.device)
        places[:, 0] = torch.arange(length, device=x.device)
        text_turn = turn(places, self.sizes.axes, THETA)
        for block in self.context_refiner:
            text = block(text, text_turn)

        picture_turn = turn(grid(tall // PATCH, wide // PATCH, length, x.device), self.sizes.axes, THETA)
        h = self.x_embedder(to_tokens(x, PATCH, channels_last=True))
        for block in self.noise_refiner:
            h = block(h, picture_turn, time)

        site = Site(taps, {**(facts or {}), "text": length, "time": time}) if taps else None
        both = torch.cat([text, h], dim=1)
        both_turn = (torch.cat([text_turn[0], picture_turn[0]]), torch.cat([text_turn[1], picture_turn[1]]))
        for i, block in enumerate(self.layers):
            both = block(both, both_turn, time)
            if site is not None:
                both = site.at(layer_index=i).fold("layer_output_patch", both)
        out = to_picture(self.final_layer(both[:, length:], time), tall, wide, PATCH, channels_last=True)
        return out[..., :height, :width]

"""Ideogram 4's transformer: one stream of prompt and picture. Parameter names are those of the published single files."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Embedding, Linear, RMSNorm
from backend.nn.rope import Turn, turned_halves
from backend.nn.sandwich import SandwichBlock, modulation

THETA = 5_000_000.0
EPS = 1e-5
FIRST = 65536
"""Rows and columns are counted from here, so that no place of the picture is one of the prompt."""


@dataclass(frozen=True)
class Ideogram4Sizes:
    channels: int
    width: int
    heads: int
    hidden: int
    layers: int
    told: int
    """Width of what tells the blocks the time."""
    context: int

    @property
    def sections(self) -> tuple[int, int, int]:
        """How many of a head's angles turn with number, row and column."""
        head = self.width // self.heads
        return head * 3 // 32, head * 5 // 64, head * 5 // 64


class Attention(nn.Module):
    """Self-attention with queries, keys and values from one product, queries and keys normalised head by head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.o = Linear(width, 3 * width, bias=False), Linear(width, width, bias=False)
        self.norm_q, self.norm_k = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, by: Turn, mask: Tensor | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        out = by_head(turned_halves(self.norm_q(q), by), turned_halves(self.norm_k(k), by), v, mask)
        return self.o(out.transpose(1, 2).flatten(2))


class Block(SandwichBlock):
    def __init__(self, sizes: Ideogram4Sizes) -> None:
        super().__init__(Attention(sizes.width, sizes.heads), sizes.width, sizes.hidden, EPS)
        self.adaln_modulation = Linear(sizes.told, 4 * sizes.width)

    def forward(self, x: Tensor, by: Turn, time: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x, by, modulation(self.adaln_modulation(time)))


class Scalar(nn.Module):
    """A number in 0..1 [B] -> [B, width]: sines, then cosines, of ten thousand times it, and two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.mlp_in, self.mlp_out = Linear(width, width), Linear(width, width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        half = self.width // 2
        rates = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * -(math.log(1e4) / (half - 1)))
        angles = t.float().unsqueeze(-1) * 1e4 * rates
        waves = F.pad(torch.cat([angles.sin(), angles.cos()], dim=-1), (0, self.width % 2)).to(dtype)
        return self.mlp_out(F.silu(self.mlp_in(waves)))


class FinalLayer(nn.Module):
    def __init__(self, width: int, out: int, told: int) -> None:
        super().__init__()
        self.linear, self.adaln_modulation = Linear(width, out), Linear(told, width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale = 1 + self.adaln_modulation(F.silu(time)).unsqueeze(1)
        return self.linear(F.layer_norm(x, (x.shape[-1],), eps=1e-6) * scale)


class Ideogram4Net(nn.Module):
    """(x [B, C, H, W] with a token's channels in one cell, time in 0..1 [B] (1: clean), context [B, L, width of the text] or None)
    -> velocity towards the clean picture [B, C, H, W]."""

    def __init__(self, sizes: Ideogram4Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.input_proj = Linear(sizes.channels, sizes.width)
        self.llm_cond_norm, self.llm_cond_proj = RMSNorm(sizes.context, 1e-6), Linear(sizes.context, sizes.width)
        self.t_embedding, self.adaln_proj = Scalar(sizes.width), Linear(sizes.width, sizes.told)
        self.embed_image_indicator = Embedding(2, sizes.width)
        self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.final_layer = FinalLayer(sizes.width, sizes.channels, sizes.told)

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None) -> Tensor:
        height, width = x.shape[-2:]
        time = F.silu(self.adaln_proj(self.t_embedding(t, x.dtype)))
        prompt, picture = self.embed_image_indicator(torch.arange(2, device=x.device), x.dtype)
        h = self.input_proj(x.flatten(2).transpose(1, 2)) + picture
        tokens = 0 if context is None else context.shape[1]
        if context is not None:
            h = torch.cat([self.llm_cond_proj(self.llm_cond_norm(context)) + prompt, h], dim=1)
        by = self.turn(tokens, height, width, x.device)
        for block in self.layers:
            h = block(h, by, time)
        return self.final_layer(h[:, tokens:], time).transpose(1, 2).unflatten(2, (height, width))

    def turn(self, tokens: int, height: int, width: int, device: torch.device) -> Turn:
        """Angles take turns: number, row, column, number ... for as long as a section lasts, then the number alone.

        In float32 throughout, as the model was trained: at these places its rounding is a few thousandths of a turn.
        """
        head = self.sizes.width // self.sizes.heads
        text = torch.arange(tokens, device=device).unsqueeze(-1).expand(-1, 3)
        rows, columns = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
        cells = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1) + FIRST
        places = torch.cat([text, cells]).float()
        rates = 1.0 / (THETA ** (torch.arange(0, head, 2, dtype=torch.float32, device=device) / head))
        angles = places.unsqueeze(-1) * rates  # [T, 3, head / 2]
        which = torch.zeros(head // 2, dtype=torch.long, device=device)
        for axis in (1, 2):
            which[axis : self.sizes.sections[axis] * 3 : 3] = axis
        chosen = angles.gather(1, which.expand(len(places), 1, -1)).squeeze(1)
        return chosen.cos(), chosen.sin()

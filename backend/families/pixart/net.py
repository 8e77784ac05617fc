"""PixArt's transformer (Chen et al. 2023, arXiv:2310.00426, section 2.3): the picture attends to itself and to the prompt; one modulation,
to which every block adds a table of its own. Names are those of the published single files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn import streams
from backend.nn.attention import attention, by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Conv2d, Layer, Linear
from backend.nn.modulate import modulated
from backend.nn.patchify import fitted, to_picture
from backend.nn.taps import Site, Taps

PATCH = 2
FREQUENCIES = 256
EPS = 1e-6


@dataclass(frozen=True)
class PixArtSizes:
    """Everything that differs between nets of this kind; all but the heads can be read from shapes."""

    channels: int = 4
    out_channels: int = 8
    """What is predicted and, in the published nets, its variance, which sampling does not use."""
    width: int = 1152
    heads: int = 16
    hidden: int = 4608
    layers: int = 28
    context: int = 4096
    """Width of the text encoding."""
    sized: bool = False
    """Whether it is told the size of the picture and its aspect."""
    span: int = 32
    """Places along a side, whatever its length."""


class Patches(nn.Module):
    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = Conv2d(channels, width, PATCH, stride=PATCH)


class Embedder(nn.Module):
    """Numbers [n] -> [n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleList([Linear(FREQUENCIES, width), nn.SiLU(), Linear(width, width)])

    def forward(self, numbers: Tensor, dtype: torch.dtype) -> Tensor:
        return self.mlp[2](F.silu(self.mlp[0](timestep_embedding(numbers, FREQUENCIES).to(dtype))))


class Perceptron(nn.Module):
    def __init__(self, cin: int, hidden: int, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(cin, hidden), Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Caption(nn.Module):
    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.y_proj = Perceptron(context, width, width)


class SelfAttention(nn.Module):
    def __init__(self, s: PixArtSizes) -> None:
        super().__init__()
        self.heads = s.heads
        self.qkv, self.proj = Linear(s.width, 3 * s.width), Linear(s.width, s.width)

    def forward(self, x: Tensor, site: Site | None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        instead = None if site is None else site.replacement("attn1_replace")
        if instead is None or site is None:
            return self.proj(attention(q, k, v, self.heads))
        return self.proj(instead(q, k, v, site.facts))


class CrossAttention(nn.Module):
    def __init__(self, s: PixArtSizes) -> None:
        super().__init__()
        self.heads = s.heads
        self.q_linear, self.kv_linear, self.proj = Linear(s.width, s.width), Linear(s.width, 2 * s.width), Linear(s.width, s.width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None) -> Tensor:
        q = torch.unflatten(self.q_linear(x), -1, (self.heads, -1)).transpose(1, 2)
        k, v = torch.unflatten(self.kv_linear(context), -1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(by_head(q, k, v, mask).transpose(1, 2).flatten(2))


class Block(Layer):
    def __init__(self, s: PixArtSizes) -> None:
        super().__init__()
        self.scale_shift_table = nn.Parameter(torch.empty(6, s.width))
        self.attn, self.cross_attn = SelfAttention(s), CrossAttention(s)
        self.mlp = Perceptron(s.width, s.hidden, s.width)

    def forward(self, x: Tensor, vec: Tensor, context: Tensor, mask: Tensor | None, site: Site | None = None) -> Tensor:
        """x [B, T, width]; vec [B, 6, width]; context [B, L, width]."""
        told = (self.get("scale_shift_table", x)[None] + vec).chunk(6, dim=1)
        x = torch.addcmul(x, told[2], self.attn(modulated(x, told[0], told[1]), site))
        x = x + self.cross_attn(x, context, mask)
        return torch.addcmul(x, told[5], self.mlp(modulated(x, told[3], told[4])))


class FinalLayer(Layer):
    def __init__(self, s: PixArtSizes) -> None:
        super().__init__()
        self.linear = Linear(s.width, PATCH * PATCH * s.out_channels)
        self.scale_shift_table = nn.Parameter(torch.empty(2, s.width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.get("scale_shift_table", x)[None] + time[:, None]).chunk(2, dim=1)
        return self.linear(modulated(x, shift, scale))


class PixArtNet(nn.Module):
    """(x [B, C, H, W], t in 0..1000 [B], context [B, L, text]) -> noise [B, C, H, W].

    `mask` [B, L] is 0 for tokens that are padding. `size` [B, 3]: height and width in pixels and their ratio, for nets that are told.
    Taps, by the names that packs know: see backend.nn.streams, and "attn1_replace" at ("single_block", i).
    """

    def __init__(self, sizes: PixArtSizes) -> None:
        super().__init__()
        self.sizes = s = sizes
        self.x_embedder = Patches(s.channels, s.width)
        self.t_embedder = Embedder(s.width)
        if s.sized:
            self.csize_embedder, self.ar_embedder = Embedder(s.width // 3), Embedder(s.width // 3)
        self.t_block = nn.ModuleList([nn.SiLU(), Linear(s.width, 6 * s.width)])
        self.y_embedder = Caption(s.context, s.width)
        self.blocks = nn.ModuleList(Block(s) for _ in range(s.layers))
        self.final_layer = FinalLayer(s)

    def time(self, t: Tensor, size: Tensor | None, dtype: torch.dtype) -> Tensor:
        """The embedded time and size [B, width]."""
        time: Tensor = self.t_embedder(t, dtype)
        if not self.sizes.sized or size is None:
            return time
        sides = self.csize_embedder(size[:, :2].flatten(), dtype).reshape(len(size), -1)
        return time + torch.cat([sides, self.ar_embedder(size[:, 2], dtype)], dim=1)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, mask: Tensor | None = None, size: Tensor | None = None,
        control: Mapping[str, Any] | None = None, taps: Taps | None = None, facts: Mapping[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        height, width = x.shape[-2:]
        seen = fitted(x, PATCH)
        rows, columns = seen.shape[-2] // PATCH, seen.shape[-1] // PATCH
        h = self.x_embedder.proj(seen).flatten(2).transpose(1, 2) + placed(rows, columns, self.sizes, x)
        time = self.time(t, size, x.dtype)
        vec = self.t_block[1](F.silu(time)).reshape(len(x), 6, -1)
        text = self.y_embedder.y_proj(context.to(x.dtype))
        shown = None if mask is None else mask.bool()[:, None, None]
        site = Site(taps, {**(facts or {}), "original_shape": list(x.shape), "net_input": x, "vec": vec}) if taps else None
        for i, block in enumerate(self.blocks):
            if site is None:
                h = block(h, vec, text, shown)
            else:
                here = site.at(block=("single_block", i), block_index=i, n_heads=self.sizes.heads)
                h = streams.single(partial(block, context=text, mask=shown, site=here), h, vec, here)
        out = to_picture(self.final_layer(h, time), rows * PATCH, columns * PATCH, PATCH, channels_last=True)
        return out[:, : self.sizes.channels, :height, :width]


def placed(rows: int, columns: int, sizes: PixArtSizes, like: Tensor) -> Tensor:
    """Positions [1, rows * columns, width]: sines and cosines of the column, then of the row, spread over the same span for every size."""
    quarter = sizes.width // 4
    rates = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64, device=like.device) / quarter)

    def along(count: int) -> Tensor:
        angles = torch.outer(torch.arange(count, dtype=torch.float64, device=like.device) * (sizes.span / count), rates)
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    across = along(columns)[None].expand(rows, -1, -1)
    down = along(rows)[:, None].expand(-1, columns, -1)
    return torch.cat([across, down], dim=-1).flatten(0, 1)[None].to(like.dtype)

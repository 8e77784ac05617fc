"""The Swin transformer (Liu et al. 2021, arXiv:2103.14030): attention within windows that are shifted by half in every second layer.

Parameters are named as the authors' files name them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear
from backend.weights.detect import count
from backend.weights.file import Header

PATCH = 4
APART = -100.0
"""Added to the attention between places of a window that are no neighbours in the picture."""


@dataclass(frozen=True)
class SwinSizes:
    """What differs between the published nets."""

    width: int = 192
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (6, 12, 24, 48)
    window: int = 12
    mlp: int = 4
    """How much wider the feed forward is inside."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels by stage."""
        return tuple(self.width << i for i in range(len(self.depths)))


def swin_sizes(header: Header, prefix: str) -> SwinSizes:
    """Sizes of the net below `prefix` ("bb."). Raises KeyError for what is not there."""
    width = header[f"{prefix}patch_embed.proj.weight"].shape[0]
    stages = range(count(header, f"{prefix}layers"))
    tables = [header[f"{prefix}layers.{i}.blocks.0.attn.relative_position_bias_table"].shape for i in stages]
    return SwinSizes(
        width=width,
        depths=tuple(count(header, f"{prefix}layers.{i}.blocks") for i in stages),
        heads=tuple(shape[1] for shape in tables),
        window=(round(tables[0][0] ** 0.5) + 1) // 2,
        mlp=header[f"{prefix}layers.0.blocks.0.mlp.fc1.weight"].shape[0] // width,
    )


class Swin(nn.Module):
    """Pictures [B, 3, H, W], normalised -> what each stage makes of them [B, width << i, H / (4 << i), W / (4 << i)]."""

    def __init__(self, sizes: SwinSizes) -> None:
        super().__init__()
        self.patch_embed = Patches(sizes.width)
        last = len(sizes.depths) - 1
        self.layers = nn.ModuleList(
            Stage(width, depth, heads, sizes.window, sizes.mlp, halves=i < last)
            for i, (width, depth, heads) in enumerate(zip(sizes.widths, sizes.depths, sizes.heads, strict=True))
        )
        for i, width in enumerate(sizes.widths):
            self.add_module(f"norm{i}", LayerNorm(width))

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = self.patch_embed(pixels)
        found = []
        for i, stage in enumerate(self.layers):
            x, coarser = stage(x)
            found.append(getattr(self, f"norm{i}")(x).movedim(-1, 1))
            x = coarser
        return found


class Patches(nn.Module):
    """[B, 3, H, W] -> [B, H / 4, W / 4, width], sides rounded up."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj, self.norm = Conv2d(3, width, PATCH, PATCH), LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        out: Tensor = self.norm(self.proj(F.pad(pixels, (0, -pixels.shape[3] % PATCH, 0, -pixels.shape[2] % PATCH))).movedim(1, -1))
        return out


class Stage(nn.Module):
    """Blocks at one resolution [B, H, W, width]: what comes out of them, and the same at half the resolution."""

    def __init__(self, width: int, depth: int, heads: int, window: int, mlp: int, *, halves: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, window, window // 2 * (i % 2), mlp) for i in range(depth))
        self.downsample = Halving(width) if halves else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for block in self.blocks:
            x = block(x)
        return x, x if self.downsample is None else self.downsample(x)


class Halving(nn.Module):
    """Four neighbours become one of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.reduction = LayerNorm(4 * width), Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        out: Tensor = self.reduction(self.norm(torch.cat([x[:, i::2, j::2] for j in range(2) for i in range(2)], dim=-1)))
        return out


class Block(nn.Module):
    """Pre-normed windowed attention and feed forward."""

    def __init__(self, width: int, heads: int, window: int, shift: int, mlp: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(width), LayerNorm(width)
        self.attn = WindowAttention(width, heads, window, shift)
        self.mlp = nn.ModuleDict({"fc1": Linear(width, mlp * width), "fc2": Linear(mlp * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))
        return out


class WindowAttention(Layer):
    """Attention within windows of [B, H, W, width], with a learnt bias for every distance within one."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        n = self.window
        x = F.pad(x, (0, 0, 0, -width % n, 0, -height % n))
        rows, columns = x.shape[1] // n, x.shape[2] // n
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
        # [B, rows, n, columns, n, C] -> [windows, n * n, C]
        windows = x.view(batch, rows, n, columns, n, channels).transpose(2, 3).reshape(-1, n * n, channels)
        q, k, v = (part.view(len(windows), n * n, self.heads, -1).transpose(1, 2) for part in self.qkv(windows).chunk(3, dim=-1))
        y: Tensor = by_head(q, k, v, self._mask(x, rows, columns)).transpose(1, 2).reshape(len(windows), n * n, channels)
        y = self.proj(y).view(batch, rows, columns, n, n, channels).transpose(2, 3).reshape(x.shape)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        return y[:, :height, :width]

    def _mask(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """[1 or windows, heads, n * n, n * n]"""
        n, device = self.window, x.device
        at = torch.arange(n, device=device)
        place = torch.stack(torch.meshgrid(at, at, indexing="ij")).flatten(1)
        away = place[:, :, None] - place[:, None, :] + n - 1
        bias = self.get("relative_position_bias_table", x)[away[0] * (2 * n - 1) + away[1]].permute(2, 0, 1)[None]
        if not self.shift:
            return bias
        # shifting brings opposite borders into one window: places of it see each other only within the same part of the picture
        down, across = (self._part(sides * n, device) for sides in (rows, columns))
        part = (down[:, None] * 3 + across).view(rows, n, columns, n).transpose(1, 2).reshape(rows * columns, n * n)
        apart = (part[:, :, None] != part[:, None, :]).to(x.dtype) * APART
        return (bias + apart[:, None]).repeat(len(x), 1, 1, 1)

    def _part(self, length: int, device: torch.device) -> Tensor:
        """By place along a side: 0 in the middle, 1 before and 2 after the seam."""
        at = torch.arange(length, device=device)
        return (at >= length - self.window).long() + (at >= length - self.shift).long()

"""Chroma Radiance: Chroma without an autoencoder. Patches of pixels go in, and a small net per patch paints its pixels.

After PixNerd (Wang et al. 2025, arXiv:2507.23268). Parameter names are those of the published single files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.chroma.net import ChromaNet, ChromaSizes
from backend.families.flux.blocks import BlockSizes, Scale
from backend.nn.layers import Conv2d, Linear
from backend.nn.taps import Site

TILE = 512
"""Patches that are painted at once: each has weights of its own."""
RATIO = 4
"""Of the small nets' inner width to their width."""


@dataclass(frozen=True)
class RadianceSizes(ChromaSizes):
    painter: int = 64
    """Width of the small nets."""
    depth: int = 4
    waves: int = 8
    """Cosines along each side of a patch by which they know a pixel's place."""
    convolved: bool = True
    """Whether a convolution makes colours, which sees beyond a patch, or a layer for each pixel."""
    clean: bool = False
    """Whether the net predicts the picture itself rather than the velocity."""


class Embedder(nn.Module):
    """Pixels of patches [P, pixels, 3] with their places in it -> [P, pixels, painter]."""

    def __init__(self, sizes: RadianceSizes) -> None:
        super().__init__()
        self.waves = sizes.waves
        self.embedder = nn.ModuleList([Linear(sizes.channels + sizes.waves**2, sizes.painter)])

    def forward(self, pixels: Tensor) -> Tensor:
        at = places(math.isqrt(pixels.shape[1]), self.waves, pixels.device)
        known = torch.cat([pixels.float(), at.expand(len(pixels), -1, -1)], dim=-1)
        out: Tensor = self.embedder[0](known)
        return out.to(pixels.dtype)


def places(side: int, waves: int, device: torch.device) -> Tensor:
    """[1, side * side, waves * waves]: products of cosines along rows and columns, faint where both are fast."""
    line = torch.linspace(0, 1, side, device=device)
    rows, columns = torch.meshgrid(line, line, indexing="ij")
    fast = torch.arange(waves, device=device, dtype=torch.float32)
    along_x = torch.cos(columns.reshape(-1, 1, 1) * fast[None, :, None] * math.pi)
    along_y = torch.cos(rows.reshape(-1, 1, 1) * fast[None, None, :] * math.pi)
    return (along_x * along_y / (1 + fast[None, :, None] * fast[None, None, :])).reshape(1, -1, waves * waves)


class Painter(nn.Module):
    """A gated perceptron whose weights are made from a patch's token: x [P, pixels, painter], token [P, width]."""

    def __init__(self, sizes: RadianceSizes) -> None:
        super().__init__()
        self.param_generator = Linear(sizes.width, 3 * sizes.painter**2 * RATIO)
        self.norm = Scale(sizes.painter)

    def forward(self, x: Tensor, token: Tensor) -> Tensor:
        width = x.shape[-1]
        gate, value, out = self.param_generator(token).chunk(3, dim=-1)
        gate, value = (F.normalize(w.reshape(-1, width, width * RATIO), dim=-2) for w in (gate, value))
        out = F.normalize(out.reshape(-1, width * RATIO, width), dim=-2)
        h = self.norm(x)
        return x + torch.bmm(F.silu(torch.bmm(h, gate)) * torch.bmm(h, value), out)


class Colours(nn.Module):
    """[B, painter, H, W] -> [B, 3, H, W]."""

    def __init__(self, sizes: RadianceSizes) -> None:
        super().__init__()
        self.norm = Scale(sizes.painter)
        if sizes.convolved:
            self.conv = Conv2d(sizes.painter, sizes.channels, 3, padding=1)
        else:
            self.linear = Linear(sizes.painter, sizes.channels)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x.movedim(1, -1))
        out: Tensor = self.conv(h.movedim(-1, 1)) if hasattr(self, "conv") else self.linear(h).movedim(-1, 1)
        return out


class RadianceNet(ChromaNet):
    """As ChromaNet, on pixels [B, 3, H, W] in -1..1. "nerf_tile" taps f(patches at once, facts)."""

    def entrance(self, made: BlockSizes) -> None:
        self.img_in_patch = Conv2d(self.sizes.channels, self.sizes.width, self.sizes.patch, stride=self.sizes.patch)

    def entered(self, pieces: Sequence[Tensor]) -> Tensor:
        return torch.cat([self.img_in_patch(piece).flatten(2).transpose(1, 2) for piece in pieces], dim=1)

    def exit(self, made: BlockSizes) -> None:
        assert isinstance(self.sizes, RadianceSizes)
        self.nerf_image_embedder = Embedder(self.sizes)
        self.nerf_blocks = nn.ModuleList(Painter(self.sizes) for _ in range(self.sizes.depth))
        self.add_module("nerf_final_layer_conv" if self.sizes.convolved else "nerf_final_layer", Colours(self.sizes))

    def finished(self, img: Tensor, vec: Tensor, seen: Tensor, site: Site | None) -> Tensor:
        assert isinstance(self.sizes, RadianceSizes)
        patch, channels = self.sizes.patch, self.sizes.channels
        tile: Any = TILE
        if site is not None:
            tile = site.fold("nerf_tile", tile)
        pixels = F.unfold(seen, patch, stride=patch).transpose(1, 2).reshape(-1, channels, patch**2).transpose(1, 2)
        tokens = img.flatten(0, 1)
        size = tile if tile > 0 else len(tokens)
        painted = torch.cat([self._painted(p, t) for p, t in zip(torch.split(pixels, size), torch.split(tokens, size), strict=True)])
        columns = painted.transpose(1, 2).reshape(len(img), img.shape[1], -1).transpose(1, 2)
        whole = F.fold(columns, tuple(seen.shape[-2:]), patch, stride=patch)
        out: Tensor = self.get_submodule("nerf_final_layer_conv" if self.sizes.convolved else "nerf_final_layer")(whole)
        return out

    def _painted(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        x = self.nerf_image_embedder(pixels)
        for painter in self.nerf_blocks:
            x = painter(x, tokens)
        out: Tensor = x
        return out

    def forward(self, x: Tensor, t: Tensor, *args: Any, **named: Any) -> Tensor:
        out: Tensor = super().forward(x, t, *args, **named)
        if isinstance(self.sizes, RadianceSizes) and self.sizes.clean:
            return (x - out) / t.to(x.dtype).reshape(-1, 1, 1, 1)
        return out

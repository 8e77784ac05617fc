"""Depth Anything 3 (Lin et al. 2025, arXiv:2511.10647) for single pictures: DINOv2 and a head that puts its layers together.

Nets for one picture say where the sky is; those for any number of views say how sure they are. Of the latter's other head, which finds
cameras, nothing is kept. Parameters are named as the authors' files name them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.depth.net import Finer, Residual
from backend.encoders.dino import Dino, DinoSizes
from backend.encoders.geometry.uv import plane_of_view, waves
from backend.nn.layers import Conv2d, LayerNorm

PLACED = 0.1
"""How much of its place a feature is told."""


@dataclass(frozen=True)
class AnythingSizes:
    """What differs between the published nets."""

    dino: DinoSizes = DinoSizes(norm=1e-5)  # noqa: RUF009 - frozen
    neck: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    fusion: int = 256
    head: int = 32

    @property
    def views(self) -> bool:
        """Whether it was made for any number of views."""
        return self.dino.several is not None


class Seen(NamedTuple):
    """Each [B, H, W]."""

    depth: Tensor
    """From 0 on; far is large."""
    beside: Tensor
    """How much a pixel is sky, from 0 on; how sure the net is of it, from 1 on, where it was made for any number of views."""


class AnythingNet(nn.Module):
    """Pictures [B, 3, H, W], normalised, sides multiples of the patch -> Seen."""

    def __init__(self, sizes: AnythingSizes) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"pretrained": Dino(sizes.dino)})
        self.head = Head(sizes)

    def forward(self, pixels: Tensor) -> Seen:
        out: Seen = self.head([places for _, places in self.backbone["pretrained"](pixels)], pixels.shape[2:])
        return out


class Head(nn.Module):
    """Four looks at 4, 2, 1 and 1/2 times the resolution of patches, put together from coarse to fine."""

    def __init__(self, sizes: AnythingSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, (first, second, _, last) = sizes.dino.width * (1 + sizes.views), sizes.neck
        self.norm = LayerNorm(width) if sizes.views else None
        self.projects = nn.ModuleList(Conv2d(width, channels, 1) for channels in sizes.neck)
        self.resize_layers = nn.ModuleList([Finer(first, 4), Finer(second, 2), nn.Identity(), Conv2d(last, last, 3, 2, 1)])
        self.scratch = Scratch(sizes)

    def forward(self, looks: list[Tensor], size: tuple[int, int]) -> Seen:
        patch, aspect = self.sizes.dino.patch, size[1] / size[0]
        rows, columns = size[0] // patch, size[1] // patch
        grids = []
        for x, project, resize in zip(looks, self.projects, self.resize_layers, strict=True):
            x = x if self.norm is None else self.norm(x)
            grids.append(resize(self._placed(project(x.transpose(1, 2).reshape(len(x), -1, rows, columns)), aspect)))
        fused = F.interpolate(self.scratch(grids), tuple(size), mode="bilinear", align_corners=True)
        return self.scratch.read(self._placed(fused, aspect))

    def _placed(self, x: Tensor, aspect: float) -> Tensor:
        if not self.sizes.views:
            return x
        return x + PLACED * waves(plane_of_view(x.shape[2], x.shape[3], aspect, x.device), x.shape[1]).to(x.dtype)


class Scratch(nn.Module):
    """What comes after the looks were brought to their resolutions."""

    def __init__(self, sizes: AnythingSizes) -> None:
        super().__init__()
        channels, views = sizes.fusion, sizes.views
        for i, width in enumerate(sizes.neck, 1):
            self.add_module(f"layer{i}_rn", Conv2d(width, channels, 3, padding=1, bias=False))
            self.add_module(f"refinenet{i}", Fusion(channels, adds=i < 4))
        self.output_conv1 = Conv2d(channels, channels // 2, 3, padding=1)
        self.output_conv2 = _reading(channels // 2, sizes.head, 1 + views)
        self.sky_output_conv2 = None if views else _reading(channels // 2, sizes.head, 1)

    def forward(self, grids: list[Tensor]) -> Tensor:
        grids = [getattr(self, f"layer{i}_rn")(x) for i, x in enumerate(grids, 1)]
        x, finest = grids[3], grids[0].shape[2:]
        for i in (4, 3, 2, 1):
            size = grids[i - 2].shape[2:] if i > 1 else (2 * finest[0], 2 * finest[1])
            x = getattr(self, f"refinenet{i}")(x, grids[i - 1] if i < 4 else None, size)
        out: Tensor = self.output_conv1(x)
        return out

    def read(self, x: Tensor) -> Seen:
        found = self.output_conv2(x).float()  # its exponential soon leaves the range of 16 bits
        if self.sky_output_conv2 is None:
            return Seen(found[:, 0].exp(), found[:, 1].exp() + 1)
        return Seen(found[:, 0].exp(), F.relu(self.sky_output_conv2(x))[:, 0].float())


class Fusion(nn.Module):
    """What came from the coarser grid, with this grid added, brought to the size of the next."""

    def __init__(self, channels: int, *, adds: bool) -> None:
        super().__init__()
        self.resConfUnit1, self.resConfUnit2 = Residual(channels) if adds else None, Residual(channels)
        self.out_conv = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, added: Tensor | None, size: tuple[int, int]) -> Tensor:
        if self.resConfUnit1 is not None and added is not None:
            x = x + self.resConfUnit1(added)
        out: Tensor = self.out_conv(F.interpolate(self.resConfUnit2(x), tuple(size), mode="bilinear", align_corners=True))
        return out


def _reading(cin: int, inner: int, cout: int) -> nn.Sequential:
    return nn.Sequential(Conv2d(cin, inner, 3, padding=1), nn.ReLU(), Conv2d(inner, cout, 1))

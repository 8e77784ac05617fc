"""Dense prediction transformers (Ranftl et al. 2021, arXiv:2103.13413): a vision transformer whose layers are put together as pictures.

Depth Anything (Yang et al. 2024, arXiv:2401.10891, 2406.09414) puts the same behind DINOv2 (Oquab et al. 2023, arXiv:2304.07193)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.depth.resnet import ResNet, StageSizes
from backend.encoders.vit import Block
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear


@dataclass(frozen=True)
class DepthSizes:
    """What differs between the published nets."""

    width: int = 384
    layers: int = 12
    heads: int = 6
    mlp: int = 1536
    positions: int = 1370
    """Of the square pictures it was trained on, and one for the whole."""
    neck: tuple[int, int, int, int] = (48, 96, 192, 384)
    fusion: int = 64
    head: int = 32
    taken: tuple[int, ...] = (3, 6, 9, 12)
    """After how many layers the head looks in: four, or two where convolutions before the transformer give the finer grids."""
    patch: int = 14
    """Pixels of the picture for each place of the transformer's grid."""
    scaled: bool = True
    normed: bool = True
    """Whether the head sees the layers through the norm at the end."""
    readout: bool = False
    """Whether each place is told about the whole before the head sees it."""
    bicubic: bool = True
    """How position embeddings are stretched: else linearly."""
    stem: int = 0
    stages: tuple[StageSizes, ...] = ()
    """Convolutions before the transformer; none in most."""

    @property
    def trained(self) -> int:
        """The side of the pictures it was trained on."""
        return round((self.positions - 1) ** 0.5) * self.patch


class DepthNet(nn.Module):
    """Pictures [B, 3, H, W], normalised, sides multiples of the patch -> depth [B, H, W]; larger is nearer."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.patch = sizes.patch
        self.backbone = Backbone(sizes)
        self.neck = Neck(sizes)
        self.head = Head(sizes)

    def forward(self, pixels: Tensor) -> Tensor:
        rows, columns = pixels.shape[2] // self.patch, pixels.shape[3] // self.patch
        fine, seen = self.backbone(pixels)
        return self.head(self.neck(fine, seen, (rows, columns)), (rows * self.patch, columns * self.patch))


class Backbone(Layer):
    """The finer grids where convolutions give them, and the states after the layers that are taken, each [B, 1 + patches, width]."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.taken, self.stretching = sizes.taken, "bicubic" if sizes.bicubic else "bilinear"
        self.cls_token = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.position_embeddings = nn.Parameter(torch.empty(1, sizes.positions, sizes.width))
        self.convolutions = ResNet(sizes.stem, sizes.stages) if sizes.stages else None
        self.patches = Conv2d(sizes.stages[-1].outer, sizes.width, 1) if sizes.stages else Conv2d(3, sizes.width, sizes.patch, sizes.patch)
        self.layers = nn.ModuleList(Block(sizes.width, sizes.heads, sizes.mlp, scaled=sizes.scaled) for _ in range(sizes.layers))
        self.norm = LayerNorm(sizes.width, 1e-6) if sizes.normed else None

    def forward(self, pixels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        *fine, x = [pixels] if self.convolutions is None else self.convolutions(pixels)
        x = self.patches(x)
        places = self._places(x)
        x = torch.cat([self.get("cls_token", x).expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1) + places
        found = []
        for i, layer in enumerate(self.layers, 1):
            x = layer(x)
            if i in self.taken:
                found.append(x if self.norm is None else self.norm(x))
        return fine, found

    def _places(self, x: Tensor) -> Tensor:
        """Position embeddings for a grid of patches of any size, stretched from the trained square one."""
        table = self.get("position_embeddings", x)
        side = round((table.shape[1] - 1) ** 0.5)
        if x.shape[2:] == (side, side):
            return table
        grid = table[:, 1:].transpose(1, 2).reshape(1, -1, side, side).float()
        grid = F.interpolate(grid, x.shape[2:], mode=self.stretching).to(x.dtype)
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class Neck(nn.Module):
    """Four grids, 4, 2, 1 and 1/2 times as fine as that of the transformer, put together from coarse to fine."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.own = 4 - len(sizes.taken)
        self.readings = nn.ModuleDict({str(i): Reading(sizes, i) for i in range(self.own, 4)})
        self.convs = nn.ModuleList(Conv2d(channels, sizes.fusion, 3, padding=1, bias=False) for channels in sizes.neck)
        self.fusion = nn.ModuleList(Fusion(sizes.fusion) for _ in sizes.neck)

    def forward(self, fine: list[Tensor], seen: list[Tensor], size: tuple[int, int]) -> Tensor:
        grids = fine + [read(x, size) for read, x in zip(self.readings.values(), seen, strict=True)]
        grids = [conv(x) for conv, x in zip(self.convs, grids, strict=True)]
        x = None
        for i, fuse in enumerate(self.fusion):
            at = len(grids) - 1 - i
            x = fuse(grids[at] if x is None else x, None if x is None else grids[at], grids[at - 1].shape[2:] if at else None)
        assert x is not None
        return x


class Reading(nn.Module):
    """States of one layer [B, 1 + patches, width] as a grid, the `index`-th from the finest."""

    def __init__(self, sizes: DepthSizes, index: int) -> None:
        super().__init__()
        channels = sizes.neck[index]
        self.readout = Linear(2 * sizes.width, sizes.width) if sizes.readout else None
        self.projection = Conv2d(sizes.width, channels, 1)
        self.resize = (Finer(channels, 4), Finer(channels, 2), nn.Identity(), Conv2d(channels, channels, 3, 2, 1))[index]

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        whole, places = x[:, :1], x[:, 1:]
        if self.readout is not None:
            places = F.gelu(self.readout(torch.cat([places, whole.expand_as(places)], dim=-1)))
        grid: Tensor = self.resize(self.projection(places.transpose(1, 2).reshape(len(x), -1, *size)))
        return grid


class Finer(Layer):
    """A transposed convolution whose kernels do not overlap."""

    def __init__(self, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.weight = nn.Parameter(torch.empty(channels, channels, factor, factor))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.get("weight", x), self.get("bias", x), self.factor)


class Residual(nn.Module):
    """Two convolutions after rectifiers, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = Conv2d(channels, channels, 3, padding=1), Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """What came from the coarser grid, with this grid added, enlarged to the next."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.residual1, self.residual2 = Residual(channels), Residual(channels)
        self.projection = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, added: Tensor | None, size: torch.Size | None) -> Tensor:
        if added is not None:
            added = added if added.shape == x.shape else F.interpolate(added, x.shape[2:], mode="bilinear")
            x = x + self.residual1(added)
        x = self.residual2(x)
        target = size if size is not None else (x.shape[2] * 2, x.shape[3] * 2)
        return self.projection(F.interpolate(x, target, mode="bilinear", align_corners=True))


class Head(nn.Module):
    """Features to one number for each pixel, never below 0."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.conv1 = Conv2d(sizes.fusion, sizes.fusion // 2, 3, padding=1)
        self.conv2 = Conv2d(sizes.fusion // 2, sizes.head, 3, padding=1)
        self.conv3 = Conv2d(sizes.head, 1, 1)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = F.interpolate(self.conv1(x), size, mode="bilinear", align_corners=True)
        return F.relu(self.conv3(F.relu(self.conv2(x)))).squeeze(1)

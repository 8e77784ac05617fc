"""DINOv2 (Oquab et al. 2023, arXiv:2304.07193) with the head of dense prediction transformers (Ranftl et al. 2021, arXiv:2103.13413), as
Depth Anything (Yang et al. 2024, arXiv:2401.10891 and 2406.09414) puts them together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear

PATCH = 14


@dataclass(frozen=True)
class DepthSizes:
    """What differs between the published sizes; all but `taken` and `heads` can be read from shapes."""

    width: int = 384
    layers: int = 12
    heads: int = 6
    mlp: int = 1536
    positions: int = 1370
    """Of the square pictures it was trained on, and one for the whole."""
    neck: tuple[int, int, int, int] = (48, 96, 192, 384)
    fusion: int = 64
    head: int = 32
    taken: tuple[int, int, int, int] = (3, 6, 9, 12)
    """After how many layers the head looks in."""


class DepthAnything(nn.Module):
    """Pictures [B, 3, H, W], normalised, sides multiples of 14 -> depth [B, H, W]; larger is nearer."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.backbone = Backbone(sizes)
        self.neck = Neck(sizes)
        self.head = Head(sizes)

    def forward(self, pixels: Tensor) -> Tensor:
        rows, columns = pixels.shape[2] // PATCH, pixels.shape[3] // PATCH
        seen = [x[:, 1:].transpose(1, 2).unflatten(2, (rows, columns)) for x in self.backbone(pixels)]
        return self.head(self.neck(seen), (rows * PATCH, columns * PATCH))


class Backbone(Layer):
    """The normed states after the layers that are taken, each [B, 1 + patches, width]."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.taken = sizes.taken
        self.cls_token = nn.Parameter(torch.empty(1, 1, sizes.width))
        self.position_embeddings = nn.Parameter(torch.empty(1, sizes.positions, sizes.width))
        self.patches = Conv2d(3, sizes.width, PATCH, PATCH)
        self.layers = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm = LayerNorm(sizes.width, 1e-6)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = self.patches(pixels)
        places = self._places(x)
        x = torch.cat([self.get("cls_token", x).expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1) + places
        found = []
        for i, layer in enumerate(self.layers, 1):
            x = layer(x)
            if i in self.taken:
                found.append(self.norm(x))
        return found

    def _places(self, x: Tensor) -> Tensor:
        """Position embeddings for a grid of patches of any size, stretched from the trained square one."""
        table = self.get("position_embeddings", x)
        side = round((table.shape[1] - 1) ** 0.5)
        if x.shape[2:] == (side, side):
            return table
        grid = table[:, 1:].transpose(1, 2).reshape(1, -1, side, side).float()
        grid = F.interpolate(grid, x.shape[2:], mode="bicubic").to(x.dtype)
        return torch.cat([table[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class Block(Layer):
    """Pre-normed attention and feed forward, each scaled by a learnt factor per channel."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm1, self.norm2 = LayerNorm(sizes.width, 1e-6), LayerNorm(sizes.width, 1e-6)
        self.q, self.k, self.v, self.out = (Linear(sizes.width, sizes.width) for _ in range(4))
        self.fc1, self.fc2 = Linear(sizes.width, sizes.mlp), Linear(sizes.mlp, sizes.width)
        self.scale1, self.scale2 = nn.Parameter(torch.empty(sizes.width)), nn.Parameter(torch.empty(sizes.width))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.out(attention(self.q(h), self.k(h), self.v(h), self.heads)) * self.get("scale1", x)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)))) * self.get("scale2", x)


class Neck(nn.Module):
    """Four grids, made 4, 2, 1 and 1/2 times as fine, and put together from coarse to fine."""

    def __init__(self, sizes: DepthSizes) -> None:
        super().__init__()
        self.projections = nn.ModuleList(Conv2d(sizes.width, channels, 1) for channels in sizes.neck)
        first, second, _, last = sizes.neck
        self.finer4, self.finer2 = Finer(first, 4), Finer(second, 2)
        self.coarser = Conv2d(last, last, 3, 2, 1)
        self.convs = nn.ModuleList(Conv2d(channels, sizes.fusion, 3, padding=1, bias=False) for channels in sizes.neck)
        self.fusion = nn.ModuleList(Fusion(sizes.fusion) for _ in sizes.neck)

    def forward(self, seen: list[Tensor]) -> Tensor:
        grids = [project(x) for project, x in zip(self.projections, seen, strict=True)]
        grids = [self.finer4(grids[0]), self.finer2(grids[1]), grids[2], self.coarser(grids[3])]
        grids = [conv(x) for conv, x in zip(self.convs, grids, strict=True)]
        x = None
        for i, fuse in enumerate(self.fusion):
            at = len(grids) - 1 - i
            x = fuse(grids[at] if x is None else x, None if x is None else grids[at], grids[at - 1].shape[2:] if at else None)
        assert x is not None
        return x


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

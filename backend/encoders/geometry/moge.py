"""MoGe 2 (Wang et al. 2025, arXiv:2507.02546): points, normals, a mask and the scale of what a picture shows, on DINOv2.

What differs between the published nets is read off their weights. Parameters are named as the authors' files name them.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.dino import Dino, DinoSizes
from backend.encoders.geometry.uv import plane_of_view
from backend.nn.layers import Conv2d, GroupNorm, Layer, Linear
from backend.weights.detect import count
from backend.weights.file import Header

LEVELS = 5
"""Resolutions from that of the patches to 16 times that."""
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GROUP = 32
HEADS = {"points_head": 3, "normal_head": 3, "mask_head": 1}
TRANSPOSED, SHUFFLED, LINEAR = "conv_transpose", "pixel_shuffle", "bilinear"


@dataclass(frozen=True)
class StackSizes:
    """One stack of convolutions from coarse to fine; 0 where a level has no input or output of its own."""

    inputs: tuple[int, ...]
    widths: tuple[int, ...]
    outputs: tuple[int, ...]
    blocks: tuple[int, ...]
    """Residual blocks by level."""
    inner: int = 1
    """How much wider residual blocks are inside."""
    resamplers: tuple[str, ...] = ()
    """How each level becomes the next."""
    normed: tuple[bool, bool] = (True, True)
    """Whether a block normalises what it gets, and what it has inside."""


@dataclass(frozen=True)
class MogeSizes:
    """One net."""

    dino: DinoSizes
    width: int
    """Of the features that the looks into DINOv2 are added up to."""
    stacks: dict[str, StackSizes] = field(hash=False)
    scale: tuple[int, ...] = ()
    """Widths of the layers that find the scale; none where it is unknown."""


class Geometry(NamedTuple):
    """What the net says, in the order of its heads; None for what it says nothing of. B, H and W are the picture's."""

    points: Tensor | None
    """[B, H, W, 3]: across, down, away; up to a factor, and to a shift away."""
    normals: Tensor | None
    """[B, H, W, 3] of length one."""
    mask: Tensor | None
    """[B, H, W]: how surely a pixel has a place, 0..1."""
    scale: Tensor | None
    """[B] metres."""


class MogeNet(nn.Module):
    """Pictures [B, 3, H, W] in 0..1, and the grid of patches as which to see them -> Geometry."""

    def __init__(self, sizes: MogeSizes) -> None:
        super().__init__()
        self.encoder = Encoder(sizes)
        for name, stack in sizes.stacks.items():
            self.add_module(name, Stack(stack))
        self.heads = tuple(name for name in HEADS if name in sizes.stacks)
        self.scale_head = _perceptron(sizes.scale) if sizes.scale else None

    def forward(self, pixels: Tensor, rows: int, columns: int) -> Geometry:
        size = pixels.shape[2:]
        aspect = size[1] / size[0]
        seen, whole = self.encoder(pixels, rows, columns)
        levels = []
        for i in range(LEVELS):
            plane = plane_of_view(rows << i, columns << i, aspect, pixels.device).movedim(-1, 0).to(pixels.dtype)
            levels.append(plane.expand(len(pixels), -1, -1, -1))
        levels[0] = torch.cat([seen, levels[0]], dim=1)
        levels = self.get_submodule("neck")(levels)
        found = {name: self._finest(name, levels, size) for name in self.heads}
        points, normals, mask = (found.get(name) for name in HEADS)
        return Geometry(
            None if points is None else _projected(points),
            None if normals is None else F.normalize(normals.movedim(1, -1), dim=-1),
            None if mask is None else mask[:, 0].sigmoid(),
            None if self.scale_head is None else self.scale_head(whole)[:, 0].float().exp(),
        )

    def _finest(self, name: str, levels: list[Tensor], size: torch.Size) -> Tensor:
        return F.interpolate(self.get_submodule(name)(levels)[-1].float(), size, mode="bilinear")


def _projected(points: Tensor) -> Tensor:
    """[B, 3, H, W] -> [B, H, W, 3]: the net says how far away, as a logarithm, and where on the plane of view."""
    away = points[:, 2:].exp()
    return torch.cat([points[:, :2] * away, away], dim=1).movedim(1, -1)


class Encoder(nn.Module):
    """Pictures in 0..1 -> features [B, width, rows, columns] and the whole [B, DINOv2's width]."""

    def __init__(self, sizes: MogeSizes) -> None:
        super().__init__()
        self.patch = sizes.dino.patch
        self.backbone = Dino(sizes.dino)
        self.output_projections = nn.ModuleList(Conv2d(sizes.dino.width, sizes.width, 1) for _ in sizes.dino.taken)

    def forward(self, pixels: Tensor, rows: int, columns: int) -> tuple[Tensor, Tensor]:
        x = F.interpolate(pixels.float(), (rows * self.patch, columns * self.patch), mode="bilinear", antialias=True)
        mean, deviation = (x.new_tensor(values).reshape(3, 1, 1) for values in (MEAN, DEVIATION))
        looks = self.backbone(((x - mean) / deviation).to(pixels.dtype))
        seen = sum(
            project(places.transpose(1, 2).reshape(len(x), -1, rows, columns))
            for project, (_, places) in zip(self.output_projections, looks, strict=True)
        )
        assert isinstance(seen, Tensor)
        return seen, looks[-1][0]


class Stack(nn.Module):
    """Features by level, coarse to fine, each added to what the coarser ones became."""

    def __init__(self, sizes: StackSizes) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList(_matching(cin, width) for cin, width in zip(sizes.inputs, sizes.widths, strict=True))
        self.res_blocks = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width, sizes.inner * width, sizes.normed) for _ in range(number)))
            for number, width in zip(sizes.blocks, sizes.widths, strict=True)
        )
        self.resamplers = nn.ModuleList(
            _resampler(kind, *widths) for kind, *widths in zip(sizes.resamplers, sizes.widths, sizes.widths[1:], strict=False)
        )
        self.output_blocks = nn.ModuleList(_matching(width, out) for width, out in zip(sizes.widths, sizes.outputs, strict=True))

    def forward(self, levels: list[Tensor]) -> list[Tensor]:
        found, x = [], None
        for i, (level, enter, blocks, leave) in enumerate(
            zip(levels, self.input_blocks, self.res_blocks, self.output_blocks, strict=False)
        ):
            entered = enter(level)
            x = blocks(entered if x is None else x + entered)
            found.append(leave(x))
            if i < len(self.resamplers):
                x = self.resamplers[i](x)
        return found


def _matching(cin: int, cout: int) -> nn.Module:
    return Conv2d(cin, cout, 1) if cin and cout else nn.Identity()


class EdgedConv2d(Conv2d):
    """A 3x3 convolution beyond whose borders the picture goes on as it ends."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(F.pad(x, (1, 1, 1, 1), mode="replicate"))


class ResidualBlock(nn.Module):
    """Two convolutions after rectifiers, added."""

    def __init__(self, width: int, inner: int, normed: tuple[bool, bool]) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            GroupNorm(1, width) if normed[0] else nn.Identity(), nn.ReLU(), EdgedConv2d(width, inner),
            GroupNorm(max(1, inner // GROUP), inner) if normed[1] else nn.Identity(), nn.ReLU(), EdgedConv2d(inner, width),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.layers(x)
        return out


class Doubling(Layer):
    """Twice the resolution by kernels that do not overlap."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.empty(cin, cout, 2, 2)), nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.get("weight", x), self.get("bias", x), 2)


def _resampler(kind: str, cin: int, cout: int) -> nn.Module:
    if kind == TRANSPOSED:
        return nn.Sequential(Doubling(cin, cout), EdgedConv2d(cout, cout))
    if kind == SHUFFLED:
        return nn.Sequential(EdgedConv2d(cin, 4 * cout), nn.PixelShuffle(2), EdgedConv2d(cout, cout))
    return nn.Sequential(nn.Upsample(scale_factor=2, mode="bilinear"), EdgedConv2d(cin, cout))


def _perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for cin, cout in itertools.pairwise(widths):
        layers += [Linear(cin, cout), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def stack_sizes(header: Header, name: str) -> StackSizes:
    """Sizes of the stack `name`. Raises KeyError, ValueError for what is not there."""
    resamplers = tuple(_kind(header, f"{name}.resamplers.{i}") for i in range(count(header, f"{name}.resamplers")))
    levels = range(len(resamplers) + 1)
    blocks = tuple(count(header, f"{name}.res_blocks.{i}") for i in levels)
    first = next(i for i in levels if blocks[i])
    block = f"{name}.res_blocks.{first}.0.layers"
    inner, width = header[f"{block}.2.weight"].shape[:2]
    return StackSizes(
        inputs=tuple(_width(header, f"{name}.input_blocks.{i}", 1) for i in levels),
        widths=_widths(header, name, levels, resamplers),
        outputs=tuple(_width(header, f"{name}.output_blocks.{i}", 0) for i in levels),
        blocks=blocks,
        inner=inner // width,
        resamplers=resamplers,
        normed=(f"{block}.0.weight" in header, f"{block}.3.weight" in header),
    )


def _widths(header: Header, name: str, levels: range, resamplers: tuple[str, ...]) -> tuple[int, ...]:
    """The last layer of a resampler is as wide as the level it makes; the first level is as wide as what its resampler takes."""
    last = {TRANSPOSED: 1, SHUFFLED: 2, LINEAR: 1}
    later = [header[f"{name}.resamplers.{i}.{last[kind]}.weight"].shape[0] for i, kind in enumerate(resamplers)]
    if resamplers:
        key, axis = {TRANSPOSED: ("0", 0), SHUFFLED: ("0", 1), LINEAR: ("1", 1)}[resamplers[0]]
        first = header[f"{name}.resamplers.0.{key}.weight"].shape[axis]
    else:
        first = header[f"{name}.res_blocks.0.0.layers.2.weight"].shape[1]
    return (first, *later)[: len(levels)]


def _kind(header: Header, name: str) -> str:
    if f"{name}.2.weight" in header:
        return SHUFFLED
    return TRANSPOSED if f"{name}.0.weight" in header else LINEAR


def _width(header: Header, name: str, axis: int) -> int:
    return header[f"{name}.weight"].shape[axis] if f"{name}.weight" in header else 0

"""BiRefNet (Zheng et al. 2024, arXiv:2401.03407): foreground masks, refined by looking at the picture again at every scale.

Parameters are named as the authors' files name them. Numbers count scales from fine (1) to coarse (4); 5 is what belongs to the coarsest
features before they are decoded.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.matting.deform import DeformableConv2d
from backend.encoders.swin import Swin, SwinSizes
from backend.nn.counted import BatchNorm2d
from backend.nn.layers import Conv2d

HINT = 16
"""Channels that tell where borders are."""


@dataclass(frozen=True)
class MattingSizes:
    """What differs between the published nets."""

    backbone: SwinSizes = SwinSizes()  # noqa: RUF009 - frozen
    kernels: tuple[int, ...] = (1, 3, 7)
    """Of the deformable branches after the first."""
    inner: int = 64
    """Channels inside a block of the decoder."""
    branch: int = 256
    """Channels of each branch that looks over another distance."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Of the features by scale, from coarse to fine: each scale is seen in the picture and in one of half its size."""
        return tuple(2 * width for width in reversed(self.backbone.widths))


class MattingNet(nn.Module):
    """Pictures [B, 3, H, W], normalised, sides multiples of 32 -> how surely each pixel is foreground, before the sigmoid [B, 1, H, W]."""

    def __init__(self, sizes: MattingSizes) -> None:
        super().__init__()
        coarse, *finer = sizes.channels
        self.bb = Swin(sizes.backbone)
        self.squeeze_module = nn.ModuleList([Decoding(coarse + sum(finer), coarse, sizes)])
        self.decoder = Decoder(sizes)

    def forward(self, pixels: Tensor) -> Tensor:
        half = resized(pixels, [side // 2 for side in pixels.shape[2:]])
        *finer, coarse = (
            torch.cat([whole, resized(small, whole.shape[2:])], dim=1) for whole, small in zip(self.bb(pixels), self.bb(half), strict=True)
        )
        together = torch.cat([*(resized(x, coarse.shape[2:]) for x in finer), coarse], dim=1)
        out: Tensor = self.decoder(pixels, [*finer, self.squeeze_module[0](together)])
        return out


class Decoder(nn.Module):
    """From coarse to fine: features, the picture cut into as many pieces as a place has pixels, and what the finer scale saw."""

    def __init__(self, sizes: MattingSizes) -> None:
        super().__init__()
        c4, c3, c2, c1 = sizes.channels
        pieces = {5: (1024, c4), 4: (256, c4), 3: (64, c3), 2: (16, c2), 1: (1, c1)}
        for number, (count, channels) in pieces.items():
            self.add_module(f"ipt_blk{number}", Look(3 * count, sizes.inner, channels // 8))
        blocks = {4: (c4 + c4 // 8, c3), 3: (c3 + c4 // 8, c2), 2: (c2 + c3 // 8, c1), 1: (c1 + c2 // 8, c1 // 2)}
        for number, (cin, cout) in blocks.items():
            self.add_module(f"decoder_block{number}", Decoding(cin, cout, sizes))
        for number, channels in {4: c3, 3: c2, 2: c1}.items():
            self.add_module(f"lateral_block{number}", Lateral(channels))
            self.add_module(f"gdt_convs_{number}", nn.Sequential(Conv2d(channels, HINT, 3, padding=1), BatchNorm2d(HINT), nn.ReLU()))
            self.add_module(f"gdt_convs_attn_{number}", nn.ModuleList([Conv2d(HINT, 1, 1)]))
        self.conv_out1 = nn.ModuleList([Conv2d(c1 // 2 + c1 // 8, 1, 1)])

    def forward(self, pixels: Tensor, features: list[Tensor]) -> Tensor:
        x1, x2, x3, x = features
        x = self._looking(5, x, pixels)
        for number, finer in ((4, x3), (3, x2), (2, x1)):
            x = self._decoded(number, x)
            borders = getattr(self, f"gdt_convs_{number}")(x)
            x = x * getattr(self, f"gdt_convs_attn_{number}")[0](borders).sigmoid()
            x = resized(x, finer.shape[2:]) + getattr(self, f"lateral_block{number}")(finer)
            x = self._looking(number, x, pixels)
        x = resized(self._decoded(1, x), pixels.shape[2:])
        out: Tensor = self.conv_out1[0](self._looking(1, x, pixels))
        return out

    def _decoded(self, number: int, x: Tensor) -> Tensor:
        out: Tensor = getattr(self, f"decoder_block{number}")(x)
        return out

    def _looking(self, number: int, x: Tensor, pixels: Tensor) -> Tensor:
        """x, and what the pieces of the picture that are as large as x tell."""
        return torch.cat([x, getattr(self, f"ipt_blk{number}")(pieces(pixels, x.shape[2], x.shape[3]))], dim=1)


def pieces(pixels: Tensor, height: int, width: int) -> Tensor:
    """[B, C, n height, m width] -> [B, C n m, height, width]: the picture's pieces above each other, row by row, channel by channel."""
    batch, channels = pixels.shape[:2]
    cut = pixels.view(batch, channels, pixels.shape[2] // height, height, pixels.shape[3] // width, width)
    return cut.transpose(3, 4).reshape(batch, -1, height, width)


class Look(nn.Module):
    """Two convolutions of the picture's pieces."""

    def __init__(self, cin: int, inner: int, cout: int) -> None:
        super().__init__()
        self.conv1, self.conv_out = Conv2d(cin, inner, 3, padding=1), Conv2d(inner, cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_out(self.conv1(x))
        return out


class Lateral(nn.Module):
    """What the finer scale saw."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Decoding(nn.Module):
    """A narrow block that looks over several distances."""

    def __init__(self, cin: int, cout: int, sizes: MattingSizes) -> None:
        super().__init__()
        inner = sizes.inner
        self.conv_in, self.bn_in = Conv2d(cin, inner, 3, padding=1), BatchNorm2d(inner)
        self.dec_att = Distances(inner, sizes.branch, sizes.kernels)
        self.conv_out, self.bn_out = Conv2d(inner, cout, 3, padding=1), BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn_out(self.conv_out(self.dec_att(F.relu(self.bn_in(self.conv_in(x))))))
        return out


class Distances(nn.Module):
    """Deformable branches of different kernels and one that sees the whole (Chen et al. 2017, arXiv:1706.05587)."""

    def __init__(self, channels: int, branch: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.aspp1 = Branch(channels, branch, 1)
        self.aspp_deforms = nn.ModuleList(Branch(channels, branch, kernel) for kernel in kernels)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), Conv2d(channels, branch, 1, bias=False), BatchNorm2d(branch), nn.ReLU()
        )
        self.conv1, self.bn1 = Conv2d(branch * (2 + len(kernels)), channels, 1, bias=False), BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.global_avg_pool(x).expand(-1, -1, *x.shape[2:])
        seen = torch.cat([self.aspp1(x), *(branch(x) for branch in self.aspp_deforms), whole], dim=1)
        return F.relu(self.bn1(self.conv1(seen)))


class Branch(nn.Module):
    """One distance."""

    def __init__(self, channels: int, branch: int, kernel: int) -> None:
        super().__init__()
        self.atrous_conv, self.bn = DeformableConv2d(channels, branch, kernel), BatchNorm2d(branch)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.atrous_conv(x)))


def resized(x: Tensor, size: list[int] | torch.Size) -> Tensor:
    """[B, C, H, W] at another size, corners on corners."""
    return F.interpolate(x, list(size), mode="bilinear", align_corners=True)

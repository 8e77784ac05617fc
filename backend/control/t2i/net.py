"""T2I-Adapter (Mou et al. 2023, arXiv:2302.08453): a small net from a picture to one map per level, run once.

Parameter names are those of the published single files.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.blocks import Downsample
from backend.nn.layers import Conv2d


@dataclass(frozen=True)
class AdapterSizes:
    """Everything that differs between adapters; all can be read from shapes."""

    picture_channels: int
    unshuffle: int
    """Pixels of the picture a side that become channels at the start: 8, or 16 for XL."""
    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    blocks: int = 2
    """Residual blocks a level."""
    kernel: int = 1
    inner: tuple[int, ...] | None = None
    """Light adapters: the width between the convolutions at both ends of a level."""
    xl: bool = False
    learned_halving: bool = False
    """Halve by a convolution rather than by means."""


class Block(nn.Module):
    """Residual block: 3x3 convolution, ReLU, convolution, perhaps after a halving and a widening."""

    def __init__(self, cin: int, cout: int, kernel: int, down: nn.Module | None = None) -> None:
        super().__init__()
        self.down_opt = down
        self.in_conv = Conv2d(cin, cout, kernel, padding=kernel // 2) if cin != cout else None
        self.block1 = Conv2d(cout, cout, 3, padding=1)
        self.block2 = Conv2d(cout, cout, kernel, padding=kernel // 2)

    def forward(self, x: Tensor, down: bool) -> Tensor:
        if down:
            x = halved(x) if self.down_opt is None else self.down_opt(x)
        x = x if self.in_conv is None else self.in_conv(x)
        return x + self.block2(F.relu(self.block1(x)))


class LightBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution; residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block1, self.block2 = Conv2d(width, width, 3, padding=1), Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block2(F.relu(self.block1(x)))


class LightLevel(nn.Module):
    """A level of a light adapter: narrow inside."""

    def __init__(self, cin: int, inner: int, cout: int, blocks: int) -> None:
        super().__init__()
        self.in_conv = Conv2d(cin, inner, 1)
        self.body = nn.ModuleList(LightBlock(inner) for _ in range(blocks))
        self.out_conv = Conv2d(inner, cout, 1)

    def forward(self, x: Tensor, down: bool) -> Tensor:
        h = self.in_conv(halved(x) if down else x)
        for block in self.body:
            h = block(h)
        return self.out_conv(h)


class Adapter(nn.Module):
    """Picture [B, C, H, W] -> one map per level, finest first."""

    def __init__(self, sizes: AdapterSizes) -> None:
        super().__init__()
        self.sizes, s = sizes, sizes
        cin = s.picture_channels * s.unshuffle**2
        if s.inner is not None:
            widths = [cin, *s.channels]
            self.body = nn.ModuleList(LightLevel(widths[i], s.inner[i], c, s.blocks) for i, c in enumerate(s.channels))
            return
        self.conv_in = Conv2d(cin, s.channels[0], 3, padding=1)
        self.body = nn.ModuleList()
        width = s.channels[0]
        for level, channels in enumerate(s.channels):
            for i in range(s.blocks):
                down = Downsample(width) if s.learned_halving and i == 0 and self.halves(level) else None
                self.body.append(Block(width, channels, s.kernel, down))
                width = channels

    def halves(self, level: int) -> bool:
        """Whether a level starts by halving."""
        return level == 2 if self.sizes.xl else level > 0

    def forward(self, picture: Tensor) -> list[Tensor]:
        s = self.sizes
        x = F.pixel_unshuffle(picture, s.unshuffle)
        if s.inner is None:
            x = self.conv_in(x)
        maps = []
        for i, block in enumerate(self.body):
            level, first = (i, True) if s.inner is not None else (i // s.blocks, i % s.blocks == 0)
            x = block(x, first and self.halves(level))
            if s.inner is not None or i % s.blocks == s.blocks - 1:
                maps.append(x)
        return maps


def halved(x: Tensor) -> Tensor:
    """Mean of 2x2, counting what is there at an odd edge."""
    return F.avg_pool2d(x, 2, 2, ceil_mode=True)

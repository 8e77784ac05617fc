"""The autoencoder of Qwen Image 2.1: that of Wan 2.2 for single frames, under the names that Wan's files have.

Every level goes on a second way besides its convolutions: down as means of what lies together, up as copies. Where a level once halved
time, one frame of nothing counts among what lies together.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import drawn
from backend.codecs.wan.levels import copies, means
from backend.codecs.wan.net import Attention, ChannelNorm, SteppedSizes
from backend.nn.layers import Conv2d


@dataclass(frozen=True)
class ResidualSizes(SteppedSizes):
    """Everything that differs. Channels of level i are `channels * channel_mult[i]`, on the way up `up_channels * channel_mult[i]`."""

    channels: int = 96
    up_channels: int = 144
    channel_mult: tuple[int, ...] = (1, 2, 4, 8, 8)
    res_blocks: int = 2
    z_channels: int = 64
    in_channels: int = 4
    temporal: tuple[bool, ...] = (False, True, True, True)
    """For each step down whether it was made to halve frames too."""


class Residual(nn.Module):
    """Two convolutions, each after norm and SiLU, plus the (projected) input."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.residual = nn.ModuleList(
            [
                ChannelNorm(cin), nn.SiLU(), Conv2d(cin, cout, 3, padding=1),
                ChannelNorm(cout), nn.SiLU(), nn.Identity(), Conv2d(cout, cout, 3, padding=1),
            ]
        )  # fmt: skip
        if cin != cout:
            self.shortcut = Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.residual[2](F.silu(self.residual[0](x)))
        h = self.residual[6](F.silu(self.residual[3](h)))
        return h + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Middle(nn.Module):
    """As in Wan's, on pictures."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.add_module("0", Residual(channels, channels))
        self.add_module("1", Attention(channels))
        self.add_module("2", Residual(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        first, attention, last = self.children()
        out: Tensor = last(attention(first(x), None))
        return out


class Shrink(nn.Module):
    """Halves height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), Conv2d(channels, channels, 3, stride=2)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resample[1](F.pad(x, (0, 1, 0, 1)))


class Grow(nn.Module):
    """Doubles height and width."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), Conv2d(channels, channels, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resample[1](F.interpolate(x, scale_factor=2.0, mode="nearest"))


class DownLevel(nn.Module):
    """One resolution on the way down."""

    def __init__(self, cin: int, cout: int, blocks: int, shrinks: bool, time: bool) -> None:
        super().__init__()
        self.cout, self.side, self.frames = cout, 2 if shrinks else 1, 2 if time else 1
        layers: list[nn.Module] = [Residual(cin if i == 0 else cout, cout) for i in range(blocks)]
        self.downsamples = nn.ModuleList([*layers, *([Shrink(cout)] if shrinks else [])])

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.downsamples:
            h = layer(h)
        return h + means(x.unsqueeze(2), self.cout, self.side, self.frames)[:, :, 0]


class UpLevel(nn.Module):
    """One resolution on the way up."""

    def __init__(self, cin: int, cout: int, blocks: int, grows: bool, time: bool) -> None:
        super().__init__()
        self.cout, self.grows, self.frames = cout, grows, 2 if time else 1
        layers: list[nn.Module] = [Residual(cin if i == 0 else cout, cout) for i in range(blocks)]
        self.upsamples = nn.ModuleList([*layers, *([Grow(cout)] if grows else [])])

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.upsamples:
            h = layer(h)
        return h + copies(x.unsqueeze(2), self.cout, 2, self.frames)[:, :, -1] if self.grows else h


class Encoder(nn.Module):
    """[B, in_channels, H, W] -> [B, 2 * z_channels, H / factor, W / factor]."""

    def __init__(self, sizes: ResidualSizes) -> None:
        super().__init__()
        width = sizes.channels
        self.conv1 = Conv2d(sizes.in_channels, width, 3, padding=1)
        self.downsamples = nn.ModuleList()
        for i, mult in enumerate(sizes.channel_mult):
            shrinks = i < len(sizes.temporal)
            self.downsamples.append(DownLevel(width, sizes.channels * mult, sizes.res_blocks, shrinks, shrinks and sizes.temporal[i]))
            width = sizes.channels * mult
        self.middle = Middle(width)
        self.head = nn.ModuleList([ChannelNorm(width), nn.SiLU(), Conv2d(width, sizes.z_channels * 2, 3, padding=1)])

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(x)
        for level in self.downsamples:
            h = level(h)
        out: Tensor = self.head[2](F.silu(self.head[0](self.middle(h))))
        return out


class Decoder(nn.Module):
    """[B, z_channels, h, w] -> [B, in_channels, h * factor, w * factor]."""

    def __init__(self, sizes: ResidualSizes) -> None:
        super().__init__()
        width = sizes.up_channels * sizes.channel_mult[-1]
        self.conv1 = Conv2d(sizes.z_channels, width, 3, padding=1)
        self.middle = Middle(width)
        self.upsamples = nn.ModuleList()
        for i, mult in enumerate(reversed(sizes.channel_mult)):
            grows = i < len(sizes.temporal)
            time = grows and sizes.temporal[-1 - i]
            self.upsamples.append(UpLevel(width, sizes.up_channels * mult, sizes.res_blocks + 1, grows, time))
            width = sizes.up_channels * mult
        self.head = nn.ModuleList([ChannelNorm(width), nn.SiLU(), Conv2d(width, sizes.in_channels, 3, padding=1)])

    def forward(self, z: Tensor) -> Tensor:
        h = self.middle(self.conv1(z))
        for level in self.upsamples:
            h = level(h)
        out: Tensor = self.head[2](F.silu(self.head[0](h)))
        return out


class ResidualAutoencoder(nn.Module):
    """Pixels [B, C, H, W] in [-1, 1] <-> latents [B, z_channels, H / factor, W / factor], unscaled."""

    def __init__(self, sizes: ResidualSizes) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(sizes), Decoder(sizes)
        self.conv1 = Conv2d(sizes.z_channels * 2, sizes.z_channels * 2, 1)
        self.conv2 = Conv2d(sizes.z_channels, sizes.z_channels, 1)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The mean of the latent, or with standard normal `noise` a sample around it."""
        return drawn(self.conv1(self.encoder(x)), noise)

    def decode(self, z: Tensor) -> Tensor:
        out: Tensor = self.decoder(self.conv2(z))
        return out

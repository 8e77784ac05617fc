"""The causal autoencoder of Wan 2.2 (Wan Team 2025), of sixteenths: it works on squares of 2 x 2 pixels, and every level goes on a second
way besides its convolutions: down as means of what lies together, up as copies.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.wan.net import (
    CausalConv3d,
    Down,
    Half,
    Past,
    Residual,
    Up,
    WanAutoencoder,
    WanSizes,
    head_of,
    middle_of,
    through,
)  # fmt: skip


def means(x: Tensor, channels: int, side: int, frames: int) -> Tensor:
    """[B, C, T, H, W] -> [B, channels, T / frames, H / side, W / side]: cells that lie together averaged over as many channels as it takes.

    Frames that are missing at the beginning are nothing.
    """
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % frames, 0))
    b, c, t, height, width = x.shape
    apart = x.reshape(b, c, t // frames, frames, height // side, side, width // side, side).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return apart.reshape(b, channels, -1, t // frames, height // side, width // side).mean(dim=2)


def copies(x: Tensor, channels: int, side: int, frames: int) -> Tensor:
    """[B, C, T, H, W] -> [B, channels, T * frames, H * side, W * side]: each channel spread over the cells that lie together."""
    b, c, t, height, width = x.shape
    spread = x.repeat_interleave(channels * frames * side * side // c, dim=1).reshape(b, channels, frames, side, side, t, height, width)
    return spread.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, channels, t * frames, height * side, width * side)


class DownLevel(nn.Module):
    """One resolution on the way down."""

    def __init__(self, cin: int, cout: int, blocks: int, shrinks: bool, time: bool) -> None:
        super().__init__()
        self.cout, self.side, self.frames = cout, 2 if shrinks else 1, 2 if time else 1
        layers: list[nn.Module] = [Residual(cin if i == 0 else cout, cout) for i in range(blocks)]
        self.downsamples = nn.ModuleList([*layers, *([Down(cout, time)] if shrinks else [])])

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        h = through(self.downsamples, x, past)
        if x.ndim == 4:
            return h + means(x.unsqueeze(2), self.cout, self.side, self.frames)[:, :, 0]
        return h + means(x, self.cout, self.side, self.frames)


class UpLevel(nn.Module):
    """One resolution on the way up."""

    def __init__(self, cin: int, cout: int, blocks: int, grows: bool, time: bool) -> None:
        super().__init__()
        self.cout, self.grows, self.frames = cout, grows, 2 if time else 1
        layers: list[nn.Module] = [Residual(cin if i == 0 else cout, cout) for i in range(blocks)]
        self.upsamples = nn.ModuleList([*layers, *([Up(cout, time, cout)] if grows else [])])

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        first = past is None or id(self) not in past
        if past is not None:
            past[id(self)] = x.new_empty(0)
        h = through(self.upsamples, x, past)
        if not self.grows:
            return h
        if x.ndim == 4:
            return h + copies(x.unsqueeze(2), self.cout, 2, self.frames)[:, :, -1]
        more = copies(x, self.cout, 2, self.frames)
        return h + (more[:, :, self.frames - 1 :] if first else more)


class LevelEncoder(Half):
    """[B, in_channels * patch^2, (T,) H, W] -> [B, 2 * z_channels, (T / 4,) H / 8, W / 8]."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        width = sizes.channels
        self.conv1 = CausalConv3d(sizes.in_channels * sizes.patch**2, width, 3, 3)
        self.downsamples = nn.ModuleList()
        for i, mult in enumerate(sizes.channel_mult):
            shrinks = i < len(sizes.temporal)
            self.downsamples.append(DownLevel(width, sizes.channels * mult, sizes.res_blocks, shrinks, shrinks and sizes.temporal[i]))
            width = sizes.channels * mult
        self.middle, self.head = middle_of(width), head_of(width, sizes.z_channels * 2)

    def _levels(self, x: Tensor, past: Past | None) -> Tensor:
        return through(self.middle, through(self.downsamples, x, past), past)


class LevelDecoder(Half):
    """[B, z_channels, (T,) h, w] -> [B, in_channels * patch^2, (4 T - 3,) h * 8, w * 8]."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        base = sizes.up_channels or sizes.channels
        width = base * sizes.channel_mult[-1]
        self.conv1 = CausalConv3d(sizes.z_channels, width, 3, 3)
        self.middle = middle_of(width)
        self.upsamples = nn.ModuleList()
        for i, mult in enumerate(reversed(sizes.channel_mult)):
            grows = i < len(sizes.temporal)
            self.upsamples.append(UpLevel(width, base * mult, sizes.res_blocks + 1, grows, grows and sizes.temporal[-1 - i]))
            width = base * mult
        self.head = head_of(width, sizes.in_channels * sizes.patch**2)

    def _levels(self, x: Tensor, past: Past | None) -> Tensor:
        return through(self.upsamples, through(self.middle, x, past), past)


class LevelAutoencoder(WanAutoencoder):
    """As the other, of squares of pixels."""

    def _halves(self, sizes: WanSizes) -> None:
        self.encoder, self.decoder = LevelEncoder(sizes), LevelDecoder(sizes)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        return super().encode(squares(x, self.sizes.patch), noise)

    def decode(self, z: Tensor) -> Tensor:
        return pixels(super().decode(z), self.sizes.patch)


def squares(x: Tensor, patch: int) -> Tensor:
    """[B, C, (T,) H, W] -> [B, C * patch^2, (T,) H / patch, W / patch]; in a channel's place lie (channel, column, row)."""
    cut = torch.unflatten(torch.unflatten(x, -1, (-1, patch)), -3, (-1, patch))
    return cut.movedim((-1, -3), (2, 3)).flatten(1, 3)


def pixels(x: Tensor, patch: int) -> Tensor:
    """The inverse of `squares`."""
    apart = torch.unflatten(x, 1, (-1, patch, patch)).movedim((2, 3), (-1, -3))
    return apart.flatten(-2).flatten(-3, -2)

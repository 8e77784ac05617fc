"""The causal 3D autoencoder of Wan 2.1 (Wan Team 2025, arXiv:2503.20314, section 4.1) and of Qwen Image (Wu et al. 2025, arXiv:2508.02324),
under its published key names.

Time only looks back, so a picture is a film of one frame. Nothing lies before it but zeros, and of a convolution over time only the last
slice of the weight ever meets it: pictures [B, C, H, W] run through plain two-dimensional convolutions. Films [B, C, T, H, W] go through
piece by piece; `Past` keeps what the convolutions saw last.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import drawn
from backend.nn.attention import by_head
from backend.nn.layers import Conv2d, Layer

Past = dict[int, Tensor]
"""The last two frames that each convolution over time was given, by its identity. Empty before the first frame."""

SPAN = 4
"""Frames of a film in one frame of its latent; the first stands alone."""
_KEPT = 2


class SteppedSizes:
    """Sizes of an autoencoder with a step down for each of `temporal`."""

    temporal: tuple[bool, ...]
    z_channels: int

    @property
    def factor(self) -> int:
        """Pixels per latent cell on a side."""
        return int(2 ** len(self.temporal))

    @property
    def embed_dim(self) -> int:
        """Channels of a latent."""
        return self.z_channels


@dataclass(frozen=True)
class WanSizes(SteppedSizes):
    """Everything that differs between autoencoders of this kind. Channels of level i are `channels * channel_mult[i]`."""

    channels: int = 96
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    z_channels: int = 16
    in_channels: int = 3
    temporal: tuple[bool, ...] = (False, True, True)
    """For each step down whether it halves the frames too."""
    patch: int = 1
    """Pixels on a side of the squares it works on."""
    up_channels: int | None = None
    """Base width on the way up, of autoencoders whose levels have a second way; None for those that have none."""

    @property
    def factor(self) -> int:
        """Pixels per latent cell on a side."""
        return self.patch * super().factor


class CausalConv3d(Layer):
    """A convolution over [B, C, T, H, W] that sees `reach` frames back; weight [cout, cin, t, k, k]. Or over one frame [B, C, H, W]."""

    def __init__(self, cin: int, cout: int, time: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.reach, self.padding, self.stride = time - 1, kernel // 2, stride
        self.weight = nn.Parameter(torch.empty(cout, cin, time, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        weight, bias = self.get("weight", x), self.get("bias", x)
        if x.ndim == 4:
            return F.conv2d(x, weight[:, :, -1], bias, padding=self.padding)
        before = None if past is None else past.get(id(self))
        if past is not None and self.reach:
            past[id(self)] = (x if before is None else torch.cat([before, x], 2))[:, :, -_KEPT:].contiguous()
        if before is None and x.shape[2] == 1:
            return F.conv2d(x[:, :, 0], weight[:, :, -1], bias, padding=self.padding).unsqueeze(2)
        if self.reach:
            seen = x if before is None else torch.cat([before, x], 2)
            x = F.pad(seen, (0, 0, 0, 0, self.reach - (seen.shape[2] - x.shape[2]), 0))
        return F.conv3d(x, weight, bias, padding=(0, self.padding, self.padding))

    def strided(self, x: Tensor) -> Tensor:
        """Every second frame, of frames of which none is to be made up."""
        return F.conv3d(x, self.get("weight", x), self.get("bias", x), stride=(2, 1, 1))


class ChannelNorm(Layer):
    """Each position of [B, C, ...] to unit mean square over channels, scaled; gamma [C, 1, ...] with as many ones as the file has."""

    def __init__(self, channels: int, ones: int = 3) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(channels, *[1] * ones))

    def forward(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        gamma = self.get("gamma", x).reshape(channels, *[1] * (x.ndim - 2))
        return F.normalize(x.float(), dim=1).to(x.dtype) * (channels**0.5 * gamma)


class Residual(nn.Module):
    """Two convolutions, each after norm and SiLU, plus the (projected) input."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.residual = nn.ModuleList(
            [
                ChannelNorm(cin), nn.SiLU(), CausalConv3d(cin, cout, 3, 3),
                ChannelNorm(cout), nn.SiLU(), nn.Identity(), CausalConv3d(cout, cout, 3, 3),
            ]
        )  # fmt: skip
        if cin != cout:
            self.shortcut = CausalConv3d(cin, cout, 1, 1)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        h = self.residual[2](F.silu(self.residual[0](x)), past)
        h = self.residual[6](F.silu(self.residual[3](h)), past)
        return h + (self.shortcut(x) if hasattr(self, "shortcut") else x)


class Attention(nn.Module):
    """Single-head self-attention over the positions of each frame."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels, ones=2)
        self.to_qkv = Conv2d(channels, channels * 3, 1)
        self.proj = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        frames, count = by_frame(x)
        qkv = self.to_qkv(self.norm(frames)).flatten(2).transpose(1, 2).unsqueeze(1)
        q, k, v = (part.contiguous() for part in qkv.chunk(3, dim=-1))
        out = by_head(q, k, v).squeeze(1).transpose(1, 2).reshape(frames.shape)
        return x + film(self.proj(out), count)


class Down(nn.Module):
    """Halves height and width, and the frames after the first where `time`."""

    def __init__(self, channels: int, time: bool) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), Conv2d(channels, channels, 3, stride=2)])
        if time:
            self.time_conv = CausalConv3d(channels, channels, 3, 1)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        frames, count = by_frame(x)
        x = film(self.resample[1](F.pad(frames, (0, 1, 0, 1))), count)
        if not hasattr(self, "time_conv") or past is None or x.ndim == 4:
            return x
        before = past.get(id(self))
        past[id(self)] = x[:, :, -1:].contiguous()
        return x if before is None else self.time_conv.strided(torch.cat([before, x], 2))


class Up(nn.Module):
    """Doubles height and width and halves the channels, unless told `out`; doubles the frames after the first where `time`."""

    def __init__(self, channels: int, time: bool, out: int | None = None) -> None:
        super().__init__()
        self.resample = nn.ModuleList([nn.Identity(), Conv2d(channels, out or channels // 2, 3, padding=1)])
        if time:
            self.time_conv = CausalConv3d(channels, channels * 2, 3, 1)

    def forward(self, x: Tensor, past: Past | None) -> Tensor:
        if hasattr(self, "time_conv") and past is not None and x.ndim == 5:
            x = self._doubled(x, past)
        frames, count = by_frame(x)
        return film(self.resample[1](F.interpolate(frames, scale_factor=2.0, mode="nearest")), count)

    def _doubled(self, x: Tensor, past: Past) -> Tensor:
        """Two frames for each but the film's first, which the convolution over time never meets."""
        if id(self) not in past:
            past[id(self)] = x.new_empty(0)
            return x
        two: Tensor = self.time_conv(x, past)
        return torch.unflatten(two, 1, (2, -1)).permute(0, 2, 3, 1, 4, 5).flatten(2, 3)


def by_frame(x: Tensor) -> tuple[Tensor, int]:
    """A film [B, C, T, H, W] as pictures [B * T, C, H, W], and T; pictures as they are, and 0."""
    return (x, 0) if x.ndim == 4 else (x.transpose(1, 2).flatten(0, 1), x.shape[2])


def film(frames: Tensor, count: int) -> Tensor:
    """The inverse of `by_frame`."""
    return frames if count == 0 else torch.unflatten(frames, 0, (-1, count)).transpose(1, 2)


class Half(nn.Module):
    """What encoder and decoder have in common: a convolution, levels and a middle in some order, norm, SiLU, a convolution."""

    conv1: CausalConv3d
    head: nn.ModuleList

    def _levels(self, x: Tensor, past: Past | None) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, past: Past | None = None) -> Tensor:
        h = self._levels(self.conv1(x, past), past)
        out: Tensor = self.head[2](F.silu(self.head[0](h)), past)
        return out


def middle_of(width: int) -> nn.ModuleList:
    """What lies between the ways down and up."""
    return nn.ModuleList([Residual(width, width), Attention(width), Residual(width, width)])


def head_of(width: int, channels: int) -> nn.ModuleList:
    """What either way ends with."""
    return nn.ModuleList([ChannelNorm(width), nn.SiLU(), CausalConv3d(width, channels, 3, 3)])


def through(layers: nn.ModuleList, x: Tensor, past: Past | None) -> Tensor:
    """One layer after the other."""
    for layer in layers:
        x = layer(x, past)
    return x


class Encoder(Half):
    """[B, in_channels, (T,) H, W] -> [B, 2 * z_channels, (T / 4,) H / factor, W / factor]."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        width = sizes.channels
        self.conv1 = CausalConv3d(sizes.in_channels, width, 3, 3)
        self.downsamples = nn.ModuleList()
        for i, mult in enumerate(sizes.channel_mult):
            for _ in range(sizes.res_blocks):
                self.downsamples.append(Residual(width, sizes.channels * mult))
                width = sizes.channels * mult
            if i < len(sizes.temporal):
                self.downsamples.append(Down(width, sizes.temporal[i]))
        self.middle, self.head = middle_of(width), head_of(width, sizes.z_channels * 2)

    def _levels(self, x: Tensor, past: Past | None) -> Tensor:
        return through(self.middle, through(self.downsamples, x, past), past)


class Decoder(Half):
    """[B, z_channels, (T,) h, w] -> [B, in_channels, (4 T - 3,) h * factor, w * factor]."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        width = sizes.channels * sizes.channel_mult[-1]
        self.conv1 = CausalConv3d(sizes.z_channels, width, 3, 3)
        self.middle = middle_of(width)
        self.upsamples = nn.ModuleList()
        for i, mult in enumerate(reversed(sizes.channel_mult)):
            for _ in range(sizes.res_blocks + 1):
                self.upsamples.append(Residual(width, sizes.channels * mult))
                width = sizes.channels * mult
            if i < len(sizes.temporal):
                self.upsamples.append(Up(width, sizes.temporal[-1 - i]))
                width //= 2
        self.head = head_of(width, sizes.in_channels)

    def _levels(self, x: Tensor, past: Past | None) -> Tensor:
        return through(self.upsamples, through(self.middle, x, past), past)


def encoded(encoder: nn.Module, x: Tensor) -> Tensor:
    """What an `encoder` that keeps the past makes of a picture, or piece by piece of a film; of T frames 1 + 4 n are looked at."""
    if x.ndim == 4:
        picture: Tensor = encoder(x)
        return picture
    past: Past = {}
    pieces = [x[:, :, :1], *torch.split(x[:, :, 1 : 1 + (x.shape[2] - 1) // SPAN * SPAN], SPAN, 2)]
    return torch.cat([encoder(piece, past) for piece in pieces if piece.shape[2]], 2)


def decoded(decoder: nn.Module, z: Tensor) -> Tensor:
    """What a `decoder` that keeps the past makes of the latent of a picture, or of a film one frame after the other."""
    if z.ndim == 4:
        picture: Tensor = decoder(z)
        return picture
    past: Past = {}
    return torch.cat([decoder(frame, past) for frame in torch.split(z, 1, 2)], 2)


class WanAutoencoder(nn.Module):
    """Pixels in [-1, 1] <-> latents, unscaled: pictures [B, C, H, W] or films [B, C, T, H, W]. H and W are multiples of the factor."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self._halves(sizes)
        self.conv1 = CausalConv3d(sizes.z_channels * 2, sizes.z_channels * 2, 1, 1)
        self.conv2 = CausalConv3d(sizes.z_channels, sizes.z_channels, 1, 1)

    def _halves(self, sizes: WanSizes) -> None:
        self.encoder: nn.Module = Encoder(sizes)
        self.decoder: nn.Module = Decoder(sizes)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The mean of the latent, or with standard normal `noise` a sample around it. Of T frames 1 + 4 n are looked at."""
        return drawn(self.conv1(encoded(self.encoder, x)), noise)

    def decode(self, z: Tensor) -> Tensor:
        """The picture, or the 4 T - 3 frames, of a latent."""
        return decoded(self.decoder, self.conv2(z))

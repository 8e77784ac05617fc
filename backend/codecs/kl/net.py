"""The KL autoencoder of latent diffusion (Rombach et al. 2022, arXiv:2112.10752, appendix G), under its published key names."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.layers import Conv2d, GroupNorm

MOST_GROUPS = 32
LEAST_PER_GROUP = 4
EPS = 1e-6


def drawn(moments: Tensor, noise: Tensor | None) -> Tensor:
    """Of the mean and log-variance of a latent, side by side [B, 2 C, ...], the mean, or with normal `noise` [B, C, ...] a sample."""
    mean, log_variance = moments.chunk(2, dim=1)
    return mean if noise is None else mean + torch.exp(0.5 * log_variance.clamp(-30.0, 20.0)) * noise


@dataclass(frozen=True)
class KLSizes:
    """Everything that differs between autoencoders of this family. Channels of level i are `channels * channel_mult[i]`."""

    channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2
    z_channels: int = 4
    in_channels: int = 3
    out_channels: int = 3
    embed_dim: int = 4
    double_z: bool = True
    quant: bool = True
    """False: no 1x1 convolutions around the latent; then `embed_dim` equals `z_channels`."""

    @property
    def groups(self) -> int:
        """Groups of every GroupNorm: 32, as in all published weights (`channels` 128), fewer only where a group would have less than four
        channels. A group of one channel would erase an even colour, which is all there is in a plain picture."""
        return max(1, min(MOST_GROUPS, self.channels // LEAST_PER_GROUP))

    @property
    def factor(self) -> int:
        """How many pixels one latent cell spans on a side."""
        return int(2 ** (len(self.channel_mult) - 1))


@dataclass(frozen=True)
class EncodedSizes:
    """Of a codec that decodes in its own way what the KL encoder made."""

    encoder: KLSizes

    @property
    def factor(self) -> int:
        """How many pixels one latent cell spans on a side."""
        return self.encoder.factor

    @property
    def embed_dim(self) -> int:
        """Channels of a latent."""
        return self.encoder.embed_dim

    @property
    def in_channels(self) -> int:
        """Channels of a picture."""
        return self.encoder.in_channels


def norm(channels: int, groups: int) -> GroupNorm:
    return GroupNorm(groups, channels, EPS)


class ResnetBlock(nn.Module):
    """[B, cin, H, W] -> [B, cout, H, W]: two convolutions, each after norm and SiLU, plus the (projected) input."""

    def __init__(self, cin: int, cout: int, groups: int) -> None:
        super().__init__()
        self.norm1 = norm(cin, groups)
        self.conv1 = Conv2d(cin, cout, 3, padding=1)
        self.norm2 = norm(cout, groups)
        self.conv2 = Conv2d(cout, cout, 3, padding=1)
        if cin != cout:
            self.nin_shortcut = Conv2d(cin, cout, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x), inplace=True))
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Single-head self-attention over all positions of [B, C, H, W]."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = norm(channels, groups)
        self.q = Conv2d(channels, channels, 1)
        self.k = Conv2d(channels, channels, 1)
        self.v = Conv2d(channels, channels, 1)
        self.proj_out = Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x)
        q, k, v = (layer(h).flatten(2).transpose(1, 2).unsqueeze(1).contiguous() for layer in (self.q, self.k, self.v))
        h = by_head(q, k, v)
        return x + self.proj_out(h.squeeze(1).transpose(1, 2).reshape(x.shape))


class Downsample(nn.Module):
    """Halves height and width. The one row and column of padding go to the bottom and right, as the published weights expect."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.pad(x, (0, 1, 0, 1)))
        return out


class Upsample(nn.Module):
    """Doubles height and width by repetition, then one convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return out


class Mid(nn.Module):
    """The lowest resolution: a block, attention over everything, a block."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups)
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block_2(self.attn_1(self.block_1(x)))
        return out


class Level(nn.Module):
    """One resolution: blocks, then the change to the next resolution where there is one."""

    def __init__(self, blocks: list[ResnetBlock], downsample: Downsample | None = None, upsample: Upsample | None = None) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        if downsample is not None:
            self.downsample = downsample
        if upsample is not None:
            self.upsample = upsample

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        for change in ("downsample", "upsample"):
            if hasattr(self, change):
                x = getattr(self, change)(x)
        return x


class Encoder(nn.Module):
    """[B, in_channels, H, W] -> [B, z_channels * (2 if double_z else 1), H / factor, W / factor]."""

    def __init__(self, sizes: KLSizes) -> None:
        super().__init__()
        width = sizes.channels
        last = len(sizes.channel_mult) - 1
        self.conv_in = Conv2d(sizes.in_channels, width, 3, padding=1)
        self.down = nn.ModuleList()
        for i, mult in enumerate(sizes.channel_mult):
            cin, width = width, sizes.channels * mult
            blocks = [ResnetBlock(cin if j == 0 else width, width, sizes.groups) for j in range(sizes.res_blocks)]
            self.down.append(Level(blocks, downsample=Downsample(width) if i != last else None))
        self.mid = Mid(width, sizes.groups)
        self.norm_out = norm(width, sizes.groups)
        self.conv_out = Conv2d(width, sizes.z_channels * (2 if sizes.double_z else 1), 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv_in(x)
        for level in self.down:
            h = level(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(self.mid(h))))
        return out


class Decoder(nn.Module):
    """[B, z_channels, h, w] -> [B, out_channels, h * factor, w * factor]. `up` is numbered by resolution, so it runs from its end."""

    def __init__(self, sizes: KLSizes) -> None:
        super().__init__()
        width = sizes.channels * sizes.channel_mult[-1]
        self.conv_in = Conv2d(sizes.z_channels, width, 3, padding=1)
        self.mid = Mid(width, sizes.groups)
        levels: list[Level] = []
        for i, mult in reversed(list(enumerate(sizes.channel_mult))):
            cin, width = width, sizes.channels * mult
            blocks = [ResnetBlock(cin if j == 0 else width, width, sizes.groups) for j in range(sizes.res_blocks + 1)]
            levels.insert(0, Level(blocks, upsample=Upsample(width) if i != 0 else None))
        self.up = nn.ModuleList(levels)
        self.norm_out = norm(width, sizes.groups)
        self.conv_out = Conv2d(width, sizes.out_channels, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        h = self.mid(self.conv_in(z))
        for level in reversed(list(self.up)):
            h = level(h)
        out: Tensor = self.conv_out(F.silu(self.norm_out(h)))
        return out


class AutoencoderKL(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] <-> latents [B, embed_dim, H / factor, W / factor], unscaled. H and W are multiples of the factor."""

    def __init__(self, sizes: KLSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)
        if sizes.quant:
            twice = 2 if sizes.double_z else 1
            self.quant_conv = Conv2d(sizes.z_channels * twice, sizes.embed_dim * twice, 1)
            self.post_quant_conv = Conv2d(sizes.embed_dim, sizes.z_channels, 1)

    def encode_moments(self, x: Tensor) -> Tensor:
        """Mean and log-variance of the latent, side by side: [B, 2 * embed_dim, h, w] (only the mean without `double_z`)."""
        h: Tensor = self.encoder(x)
        return self.quant_conv(h) if self.sizes.quant else h

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latent of `x`: its mean, or with standard normal `noise` [B, embed_dim, h, w] a sample around it."""
        moments = self.encode_moments(x)
        return drawn(moments, noise) if self.sizes.double_z else moments

    def decode(self, z: Tensor) -> Tensor:
        """Pixels of the latent `z`, nominally in [-1, 1] and not clamped."""
        if self.sizes.quant:
            z = self.post_quant_conv(z)
        out: Tensor = self.decoder(z)
        return out

"""The consistency decoder published with DALL-E 3 (Betker et al. 2023), after Song et al. 2023 (arXiv:2303.01469).

A UNet on pixels without attention is shown the enlarged latent and removes all noise at once, twice. Its names are diffusers'.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import EncodedSizes, Encoder, drawn
from backend.nn.layers import Conv2d, Embedding, GroupNorm, Linear

GROUPS = 32
SCALE = 0.18215
MEANS = (0.38862467, 0.02253063, 0.07381133, -0.0171294)
DEVIATIONS = (0.9654121, 1.0440036, 0.76147926, 0.77022034)
"""Of scaled latents, in training."""
TIMESTEPS = (1008, 512)
DATA = 0.5
"""Deviation of pictures, in the scales of Karras et al. 2022, table 1."""


@dataclass(frozen=True)
class ConsistencySizes(EncodedSizes):
    widths: tuple[int, ...] = (320, 640, 1024, 1024)
    """Of the UNet's levels, finest first."""
    layers: int = 3
    steps: int = 1024
    """Timesteps the UNet knows."""
    out_channels: int = 6
    """Three of them are estimates of a variance, which are not used."""

    @property
    def channels(self) -> int:
        """The width that counts for memory."""
        return self.widths[0]


class ResBlock(nn.Module):
    """[B, cin, H, W] -> [B, cout, H, W] with scale and shift from the embedded time; `change` halves or doubles the sides on the way."""

    def __init__(self, cin: int, cout: int, embed: int, change: str = "") -> None:
        super().__init__()
        self.change = change
        self.norm1, self.norm2 = GroupNorm(GROUPS, cin), GroupNorm(GROUPS, cout)
        self.conv1, self.conv2 = Conv2d(cin, cout, 3, padding=1), Conv2d(cout, cout, 3, padding=1)
        self.time_emb_proj = Linear(embed, 2 * cout)
        self.conv_shortcut = Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(self._changed(F.silu(self.norm1(x))))
        scale, shift = self.time_emb_proj(F.silu(emb))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.conv_shortcut(self._changed(x)) + h

    def _changed(self, x: Tensor) -> Tensor:
        if self.change == "halve":
            return F.avg_pool2d(x, 2)
        return F.interpolate(x, scale_factor=2.0, mode="nearest") if self.change == "double" else x


class Down(nn.Module):
    """The blocks of one resolution on the way down, and the change to the next."""

    def __init__(self, widths: list[tuple[int, int]], embed: int, halve: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(cin, cout, embed) for cin, cout in widths)
        self.downsamplers = nn.ModuleList(ResBlock(cout, cout, embed, "halve") for _, cout in widths[-1:] if halve)

    def forward(self, h: Tensor, emb: Tensor) -> list[Tensor]:
        """Every map on the way; the last goes on."""
        maps = []
        for block in (*self.resnets, *self.downsamplers):
            h = block(h, emb)
            maps.append(h)
        return maps


class Up(nn.Module):
    """The blocks of one resolution on the way up, and the change to the next."""

    def __init__(self, widths: list[tuple[int, int]], embed: int, double: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(cin, cout, embed) for cin, cout in widths)
        self.upsamplers = nn.ModuleList(ResBlock(cout, cout, embed, "double") for _, cout in widths[-1:] if double)

    def forward(self, h: Tensor, emb: Tensor, skips: list[Tensor]) -> Tensor:
        """Takes its skips from the end of the list."""
        for block in self.resnets:
            h = block(torch.cat([h, skips.pop()], dim=1), emb)
        for block in self.upsamplers:
            h = block(h, emb)
        return h


class Middle(nn.Module):
    def __init__(self, width: int, embed: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(width, width, embed) for _ in range(2))

    def forward(self, h: Tensor, emb: Tensor) -> Tensor:
        for block in self.resnets:
            h = block(h, emb)
        return h


class Time(nn.Module):
    """The two layers after the table of timesteps."""

    def __init__(self, width: int, embed: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(width, embed), Linear(embed, embed)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class PixelUNet(nn.Module):
    """x [B, 3 + latent channels, H, W] at a timestep -> [B, out_channels, H, W]."""

    def __init__(self, sizes: ConsistencySizes) -> None:
        super().__init__()
        widths, embed = sizes.widths, sizes.widths[0] * 4
        last = len(widths) - 1
        self.time_proj, self.time_embedding = Embedding(sizes.steps, widths[0]), Time(widths[0], embed)
        self.conv_in = Conv2d(sizes.in_channels + sizes.embed_dim, widths[0], 3, padding=1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], [widths[0]]
        for i, cout in enumerate(widths):
            self.down_blocks.append(Down([(width if j == 0 else cout, cout) for j in range(sizes.layers)], embed, i < last))
            width = cout
            skips += [cout] * (sizes.layers + (i < last))
        self.mid_block = Middle(width, embed)
        for i, cout in reversed(list(enumerate(widths))):
            pairs = []
            for _ in range(sizes.layers + 1):
                pairs.append((width + skips.pop(), cout))
                width = cout
            self.up_blocks.append(Up(pairs, embed, i > 0))
        self.conv_norm_out = GroupNorm(GROUPS, widths[0])
        self.conv_out = Conv2d(widths[0], sizes.out_channels, 3, padding=1)

    def forward(self, x: Tensor, timestep: int) -> Tensor:
        emb = self.time_embedding(self.time_proj(torch.full((len(x),), timestep, device=x.device), x.dtype))
        skips = [self.conv_in(x)]
        for level in self.down_blocks:
            skips += level(skips[-1], emb)
        h = self.mid_block(skips[-1], emb)
        for level in self.up_blocks:
            h = level(h, emb, skips)
        return self.conv_out(F.silu(self.conv_norm_out(h)))


class ConsistencyAutoencoder(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] <-> latents [B, 4, H / factor, W / factor], unscaled. Encodes as the KL autoencoder does."""

    def __init__(self, sizes: ConsistencySizes, alphas: Tensor) -> None:
        super().__init__()
        self.sizes, self.alphas = sizes, [float(alphas[t]) for t in TIMESTEPS]
        z = sizes.embed_dim
        self.encoder, self.quant_conv = Encoder(sizes.encoder), Conv2d(2 * z, 2 * z, 1)
        self.decoder_unet = PixelUNet(sizes)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latent of `x`: its mean, or with standard normal `noise` a sample around it."""
        return drawn(self.quant_conv(self.encoder(x)), noise)

    def decode(self, z: Tensor, noise: Tensor) -> Tensor:
        """Pixels of the latent `z`, out of standard normal `noise` [B, 6, H, W]: three channels for each of the two steps."""
        mean, deviation = (torch.tensor(values, dtype=z.dtype, device=z.device).reshape(1, -1, 1, 1) for values in (MEANS, DEVIATIONS))
        shown = F.interpolate((z * SCALE - mean) / deviation, scale_factor=float(self.sizes.factor), mode="nearest")
        x0 = torch.zeros_like(noise[:, :3])
        for i, (timestep, alpha, fresh) in enumerate(zip(TIMESTEPS, self.alphas, noise.chunk(2, dim=1), strict=True)):
            x = fresh * (1 - alpha) ** 0.5 + (x0 * alpha**0.5 if i else 0)
            x0 = self._clean(x, shown, timestep, alpha)
        return x0

    def _clean(self, x: Tensor, shown: Tensor, timestep: int, alpha: float) -> Tensor:
        """The consistency function: table 1 of Karras et al. on the axis of x / sqrt(alpha)."""
        variance = 1 / alpha - 1
        root = (variance + DATA**2) ** 0.5
        out = self.decoder_unet(torch.cat([x * (alpha**-0.5 / root), shown], dim=1), timestep)[:, :3]
        return out * (variance**0.5 * DATA / root) + x * (alpha**-0.5 * DATA**2 / root**2)

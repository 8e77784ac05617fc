"""The tiny autoencoder, after the published TAESD weights (Bohan 2023): residual blocks without norms, three halvings.

Layers are numbered as in the published single files.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.layers import Conv2d

LEVELS, BLOCKS = 3, 3
BOUND = 3.0


@dataclass(frozen=True)
class TinySizes:
    """What differs between tiny autoencoders, and between which latents nodes see and those the net was trained on."""

    width: int = 64
    embed_dim: int = 4
    scale: float = 1.0
    """net latent = (latent - shift) * scale, as for the model whose latents these are."""
    shift: float = 0.0

    in_channels: int = 3

    @property
    def channels(self) -> int:
        """The width that counts for memory."""
        return self.width

    @property
    def factor(self) -> int:
        """How many pixels one latent cell spans on a side."""
        return int(2**LEVELS)


class Block(nn.Module):
    """[B, cin, H, W] -> [B, cout, H, W]: three convolutions plus the (projected) input, rectified."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv = nn.ModuleList([Conv2d(cin, cout, 3, padding=1), nn.ReLU(), Conv2d(cout, cout, 3, padding=1), nn.ReLU(),
                                   Conv2d(cout, cout, 3, padding=1)])  # fmt: skip
        self.skip = Conv2d(cin, cout, 1, bias=False) if cin != cout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer in self.conv:
            h = layer(h)
        return F.relu(h + self.skip(x))


def encoder(sizes: TinySizes) -> nn.Sequential:
    """Pixels in 0..1 -> net latents."""
    w = sizes.width
    layers: list[nn.Module] = [Conv2d(3, w, 3, padding=1), Block(w, w)]
    for _ in range(LEVELS):
        layers += [Conv2d(w, w, 3, stride=2, padding=1, bias=False), *(Block(w, w) for _ in range(BLOCKS))]
    return nn.Sequential(*layers, Conv2d(w, sizes.embed_dim, 3, padding=1))


class Bound(nn.Module):
    """Keeps latents within three deviations, smoothly."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / BOUND) * BOUND


def decoder(sizes: TinySizes) -> nn.Sequential:
    """Net latents -> pixels in 0..1."""
    w = sizes.width
    layers: list[nn.Module] = [Bound(), Conv2d(sizes.embed_dim, w, 3, padding=1), nn.ReLU()]
    for _ in range(LEVELS):
        layers += [*(Block(w, w) for _ in range(BLOCKS)), nn.Upsample(scale_factor=2), Conv2d(w, w, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, Block(w, w), Conv2d(w, 3, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """Pixels [B, 3, H, W] in [-1, 1] <-> latents [B, embed_dim, H / 8, W / 8], unscaled, as the large autoencoder makes them."""

    def __init__(self, sizes: TinySizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.encoder, self.decoder = encoder(sizes), decoder(sizes)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        """The latent of `x`. It has no deviation, so `noise` is not used."""
        return self.encoder(x / 2 + 0.5) / self.sizes.scale + self.sizes.shift

    def decode(self, z: Tensor) -> Tensor:
        """Pixels of the latent `z`, nominally in [-1, 1] and not clamped."""
        return self.decoder((z - self.sizes.shift) * self.sizes.scale) * 2 - 1

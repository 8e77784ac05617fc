"""The autoencoder of Flux 2, under the names of its published files."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.codecs.kl.net import AutoencoderKL, Decoder, KLSizes
from backend.nn.layers import Layer

PATCH = 2
EPS = 1e-4


@dataclass(frozen=True)
class Flux2Sizes:
    """Encoder and decoder may differ in width: there is a smaller decoder for the same latents."""

    encoder: KLSizes
    decoder: KLSizes

    @property
    def factor(self) -> int:
        return self.encoder.factor * PATCH

    @property
    def embed_dim(self) -> int:
        return self.encoder.embed_dim * PATCH * PATCH

    @property
    def in_channels(self) -> int:
        return self.encoder.in_channels

    @property
    def channels(self) -> int:
        return max(self.encoder.channels, self.decoder.channels)


class Statistics(Layer):
    """What latents are normalised by (Ioffe & Szegedy 2015), collected in training."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.running_mean, self.running_var = nn.Parameter(torch.empty(channels)), nn.Parameter(torch.empty(channels))

    def normalised(self, z: Tensor) -> Tensor:
        return (z - self._along("running_mean", z)) / (self._along("running_var", z) + EPS).sqrt()

    def restored(self, z: Tensor) -> Tensor:
        return z * (self._along("running_var", z) + EPS).sqrt() + self._along("running_mean", z)

    def _along(self, name: str, z: Tensor) -> Tensor:
        return self.get(name, z).reshape(-1, 1, 1)


class Flux2Autoencoder(AutoencoderKL):
    """Pixels [B, 3, H, W] in [-1, 1] <-> latents [B, 4 * z_channels, H / 16, W / 16] of zero mean and unit deviation."""

    def __init__(self, sizes: Flux2Sizes) -> None:
        super().__init__(sizes.encoder)
        self.decoder = Decoder(sizes.decoder)
        self.bn = Statistics(sizes.embed_dim)

    def encode(self, x: Tensor, noise: Tensor | None = None) -> Tensor:
        fine = None if noise is None else F.pixel_shuffle(noise, PATCH)
        return self.bn.normalised(F.pixel_unshuffle(super().encode(x, fine), PATCH))

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(F.pixel_shuffle(self.bn.restored(z), PATCH))

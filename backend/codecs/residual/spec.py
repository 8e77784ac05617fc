"""Which residual autoencoder a file holds, and the handle for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from backend.codecs.kl.spec import PREFIXES, VaeHandle, opened
from backend.codecs.residual.net import ResidualAutoencoder, ResidualSizes
from backend.codecs.wan.names import levels_from_diffusers
from backend.codecs.wan.spec import COLOURS, opaque
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, WeightFile

MARK = "encoder.downsamples.0.downsamples.0.residual.2.weight"
OTHER = "encoder.down_blocks.0.resnets.0.conv1.weight"
"""The same weight in diffusers' spelling."""


@dataclass(frozen=True)
class ResidualHandle(VaeHandle):
    """A VAE that knows transparency; a picture without it is opaque."""

    def _pixels(self, pixels: Tensor) -> Tensor:
        return super()._pixels(opaque(pixels) if self.sizes.in_channels == COLOURS + 1 else pixels)


def find(header: Header) -> dict[str, str]:
    """Net parameter name -> key in the file; empty when it holds no such autoencoder."""
    for prefix in PREFIXES:
        inner = {key[len(prefix) :]: key for key in header if key.startswith(prefix)}
        if MARK in inner and len(header[inner[MARK]].shape) == 4:
            return {name: key for name, key in inner.items() if name.startswith(("encoder.", "decoder.", "conv1.", "conv2."))}
        if OTHER in inner and "encoder.mid_block.attentions.0.to_qkv.weight" in inner and len(header[inner[OTHER]].shape) == 4:
            return {name: inner[key] for name, key in levels_from_diffusers(inner).items()}
    return {}


def sizes_of(header: Header) -> ResidualSizes:
    """Sizes from shapes under single-file names. Raises KeyError naming a parameter that is missing."""
    channels, in_channels = header["encoder.conv1.weight"].shape[:2]
    levels = range(count(header, "encoder.downsamples"))
    widths = [header[f"encoder.downsamples.{i}.downsamples.0.residual.2.weight"].shape[0] for i in levels]
    blocks = sum(
        f"encoder.downsamples.0.downsamples.{i}.residual.2.weight" in header
        for i in range(count(header, "encoder.downsamples.0.downsamples"))
    )
    return ResidualSizes(
        channels=channels,
        up_channels=header["decoder.conv1.weight"].shape[0] // (widths[-1] // channels),
        channel_mult=tuple(width // channels for width in widths),
        res_blocks=blocks,
        z_channels=header["conv2.weight"].shape[0],
        in_channels=in_channels,
        temporal=tuple(f"encoder.downsamples.{i}.downsamples.{blocks}.time_conv.weight" in header for i in levels[:-1]),
    )


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> ResidualHandle | None:
    """The residual autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    names = find(file)
    if not names:
        return None
    return opened(file, Renamed(file, names), sizes_of, ResidualAutoencoder, ResidualHandle, dtype)

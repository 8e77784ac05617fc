"""Which SeedVR2 autoencoder a file holds, and the handle that takes pictures and films through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from backend.codecs.kl.spec import PREFIXES, VaeHandle, opened
from backend.codecs.seedvr2.net import SeedVR2Autoencoder, SeedVR2VaeSizes
from backend.codecs.wan.spec import WanHandle
from backend.weights.detect import count
from backend.weights.file import Header, Renamed, WeightFile

MARK = "decoder.up_blocks.0.upsamplers.0.upscale_conv.weight"
_PARTS = ("encoder.", "decoder.")


@dataclass(frozen=True)
class SeedVR2Vae(WanHandle):
    """A VAE whose latents have time, as Wan's: a picture is a film of one frame; several pictures are one film."""

    def working_bytes(self, height: int, width: int, dtype: torch.dtype) -> int:
        # The last step up holds four times the channels of its level, once as they come and once spread.
        return 2 * VaeHandle.working_bytes(self, height, width, dtype)


def find(header: Header) -> dict[str, str]:
    """Net parameter name -> key in the file; empty when it holds no such autoencoder."""
    for prefix in PREFIXES:
        if prefix + MARK in header:
            return {key[len(prefix) :]: key for key in header if key.startswith(tuple(prefix + part for part in _PARTS))}
    return {}


def sizes_of(header: Header) -> SeedVR2VaeSizes:
    """Sizes from shapes. Raises KeyError naming a parameter that is missing."""
    channels, in_channels = header["encoder.conv_in.weight"].shape[:2]
    levels = range(count(header, "encoder.down_blocks"))
    return SeedVR2VaeSizes(
        channels=channels,
        channel_mult=tuple(header[f"encoder.down_blocks.{i}.resnets.0.conv1.weight"].shape[0] // channels for i in levels),
        res_blocks=count(header, "encoder.down_blocks.0.resnets"),
        z_channels=header["decoder.conv_in.weight"].shape[1],
        in_channels=in_channels,
        temporal=tuple(header[f"encoder.down_blocks.{i}.downsamplers.0.conv.weight"].shape[2] > 1 for i in levels[:-1]),
    )


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> SeedVR2Vae | None:
    """The SeedVR2 autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    names = find(file)
    if not names:
        return None
    return opened(file, Renamed(file, names), sizes_of, SeedVR2Autoencoder, SeedVR2Vae, dtype)

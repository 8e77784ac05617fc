"""Which consistency decoder a file holds, and the handle that brings its noise."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.codecs.consistency.net import ConsistencyAutoencoder, ConsistencySizes
from backend.codecs.kl.names import from_diffusers
from backend.codecs.kl.net import KLSizes
from backend.codecs.kl.spec import VaeHandle, check, malformed
from backend.memory.pool import Loadable
from backend.weights.detect import MALFORMED, count
from backend.weights.file import Header, Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Part

MARK = "decoder_unet.conv_in.weight"
SEED = 0
_CAP = 0.999


@dataclass(frozen=True)
class ConsistencyHandle(VaeHandle):
    """A VAE whose decoder starts from noise: always the same, so that a latent always decodes to the same picture."""

    def beside(self, latent: Tensor) -> Tensor:
        drawn = torch.Generator().manual_seed(SEED)
        batch, _, height, width = latent.shape
        return torch.cat([torch.randn(batch, 3, height * self.factor, width * self.factor, generator=drawn) for _ in range(2)], dim=1)


def alphas(count: int) -> Tensor:
    """Cumulated alphas of the cosine schedule (Nichol & Dhariwal 2021), fp64 [count]."""
    t = torch.arange(count + 1, dtype=torch.float64) / count
    bar = torch.cos((t + 0.008) / 1.008 * torch.pi / 2) ** 2
    return torch.cumprod(1 - (1 - bar[1:] / bar[:-1]).clamp(max=_CAP), 0)


def find(header: Header) -> dict[str, Part]:
    """Net parameter name -> part of the file; empty where it holds no consistency decoder."""
    if MARK not in header:
        return {}
    ours = "encoder.down.0.block.0.conv1.weight" in header
    encoder = [key for key in header if key.startswith(("encoder.", "quant_conv."))]
    names = {key: Part(key) for key in encoder} if ours else from_diffusers(encoder)
    return names | {key: Part(key) for key in header if key.startswith("decoder_unet.")}


def sizes_of(header: Header) -> ConsistencySizes:
    """Sizes from shapes. Raises KeyError naming a weight that is missing."""
    levels, unet = count(header, "encoder.down"), "decoder_unet"
    widths = [header[f"encoder.down.{i}.block.0.conv1.weight"].shape[0] for i in range(levels)]
    z = header["encoder.conv_out.weight"].shape[0] // 2
    encoder = KLSizes(
        channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        res_blocks=count(header, "encoder.down.0.block"),
        z_channels=z,
        in_channels=header["encoder.conv_in.weight"].shape[1],
        embed_dim=z,
    )
    return ConsistencySizes(
        encoder,
        tuple(header[f"{unet}.down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(count(header, f"{unet}.down_blocks"))),
        count(header, f"{unet}.down_blocks.0.resnets"),
        header[f"{unet}.time_proj.weight"].shape[0],
        header[f"{unet}.conv_out.weight"].shape[0],
    )


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> ConsistencyHandle | None:
    """The consistency decoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    parts = find(file)
    if not parts:
        return None
    mapped = MappedNames(file, parts)
    try:
        sizes = sizes_of(mapped)
        build = functools.partial(ConsistencyAutoencoder, sizes, alphas(sizes.steps))
        check(build, mapped)
    except MALFORMED as error:
        raise malformed(file, error) from error
    return ConsistencyHandle(Loadable(f"{identity(file)}#vae", build, Views(mapped), dtype=dtype), sizes)

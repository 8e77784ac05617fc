"""Which files hold an autoencoder of Flux 2, and its sizes, read from names and shapes."""

from __future__ import annotations

from dataclasses import replace

import torch

from backend.codecs.flux2.net import Flux2Autoencoder, Flux2Sizes
from backend.codecs.kl import spec as kl
from backend.codecs.kl.spec import VaeHandle
from backend.weights.detect import count
from backend.weights.file import Header, WeightFile
from backend.weights.keymap import MappedNames, Part

STATISTICS = ("bn.running_mean", "bn.running_var")


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> VaeHandle | None:
    """The autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    prefix = next((prefix for prefix in kl.PREFIXES if prefix + STATISTICS[0] in file), None)
    parts = {} if prefix is None else kl.find(file)
    if not parts:
        return None
    mapped = MappedNames(file, {**parts, **{name: Part(f"{prefix}{name}") for name in STATISTICS}})
    return kl.opened(file, mapped, sizes_of, Flux2Autoencoder, VaeHandle, dtype)


def sizes_of(header: Header) -> Flux2Sizes:
    """Raises KeyError naming a parameter that is missing."""
    encoder = kl.sizes_of(header)
    channels = header["decoder.conv_out.weight"].shape[1]
    levels = range(count(header, "decoder.up"))
    mult = tuple(header[f"decoder.up.{i}.block.0.conv1.weight"].shape[0] // channels for i in levels)
    return Flux2Sizes(encoder, replace(encoder, channels=channels, channel_mult=mult, res_blocks=count(header, "decoder.up.0.block") - 1))

"""Which asymmetric autoencoder a file holds, and the handle that decodes around a picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.codecs.asymmetric.net import AsymmetricAutoencoder, AsymmetricSizes
from backend.codecs.kl.net import KLSizes
from backend.codecs.kl.spec import VaeHandle, find, opened
from backend.memory.pool import Pool
from backend.weights.detect import count
from backend.weights.file import Header, WeightFile
from backend.weights.keymap import MappedNames

MARK = "decoder.condition_encoder.layers.0.weight"


@dataclass(frozen=True)
class AsymmetricHandle(VaeHandle):
    """A VAE that can be shown the picture around what it decodes."""

    def decode_around(self, latent: Tensor, pixels: Tensor, mask: Tensor, pool: Pool) -> Tensor:
        """As `decode`, keeping to `pixels` [B, H, W, C] in 0..1 where `mask` [B, H, W] is 0. Raises BadInput for another size."""
        size = (latent.shape[2] * self.factor, latent.shape[3] * self.factor)
        picture = self._pixels(pixels)
        if tuple(picture.shape[-2:]) != size:
            raise BadInput(
                f"The picture is {pixels.shape[2]}x{pixels.shape[1]}, the latent decodes to {size[1]}x{size[0]}.",
                hint="Connect the picture that was encoded.",
            )
        hole = F.interpolate(mask.reshape(-1, 1, *mask.shape[-2:]).float(), size=size, mode="nearest").round()
        beside = [x.expand(len(latent), -1, -1, -1) if len(x) == 1 else x for x in (picture, hole)]
        if any(len(x) != len(latent) for x in beside):
            raise BadInput(
                f"There are {len(latent)} latents, {len(pixels)} pictures and {len(hole)} masks.", hint="Give one or equally many."
            )
        return self.decode(latent, pool, beside=torch.cat(beside, dim=1))


def sizes_of(header: Header) -> AsymmetricSizes:
    """Sizes from shapes under single-file names. Raises KeyError naming a weight that is missing."""

    def half(side: str, levels: str, fewer: int) -> KLSizes:
        parts = count(header, f"{side}.{levels}")
        widths = [header[f"{side}.{levels}.{i}.block.0.conv1.weight"].shape[0] for i in range(parts)]
        return KLSizes(
            channels=widths[0],
            channel_mult=tuple(width // widths[0] for width in widths),
            res_blocks=count(header, f"{side}.{levels}.0.block") - fewer,
            z_channels=z,
            in_channels=header["encoder.conv_in.weight"].shape[1],
            out_channels=header["decoder.conv_out.weight"].shape[0],
            embed_dim=z,
        )

    z = header["decoder.conv_in.weight"].shape[1]
    layers = count(header, "decoder.condition_encoder.layers")
    condition = tuple(header[f"decoder.condition_encoder.layers.{i}.weight"].shape[0] for i in range(layers))
    return AsymmetricSizes(half("encoder", "down", 0), half("decoder", "up", 1), condition)


def from_file(file: WeightFile, dtype: torch.dtype = torch.float32) -> AsymmetricHandle | None:
    """The asymmetric autoencoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    parts = find(file)
    if MARK not in parts:
        return None
    return opened(file, MappedNames(file, parts), sizes_of, AsymmetricAutoencoder, AsymmetricHandle, dtype)

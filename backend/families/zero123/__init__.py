"""Zero123 (Liu et al. 2023, arXiv:2303.11328) and Stable Zero123: a thing in a picture from another side.

A net of Stable Diffusion 1 is shown the picture's latent as the autoencoder made it, and reads one token: what CLIP sees in the picture,
and where the camera went, which a layer that lies beside the net makes as wide as a word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.sd import SD1_FAMILY, TURNED, sd1
from backend.families.sd.conditions import Cond
from backend.families.sd.shown import edited
from backend.families.sd.sizes import sizes_sd1
from backend.families.sd.unet import UNet, UNetSizes
from backend.nn.layers import Linear
from backend.weights.detect import Signature

NAME = "Zero123"
CAMERA = 4
"""Elevation, sine and cosine of the azimuth, and one number that is always the same."""
_shown = edited()


class Zero123UNet(UNet):
    """Whose context may be a picture and a camera [B, 1, context + 4]."""

    def __init__(self, sizes: UNetSizes) -> None:
        super().__init__(sizes)
        self.cc_projection = Linear(sizes.context + CAMERA, sizes.context)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if context.shape[-1] != self.sizes.context:
            context = self.cc_projection(context)
        return super().forward(x, t, context, *args, **kwargs)


def inputs(conds: list[Cond], sizes: Any, shape: Sequence[int]) -> dict[str, Tensor]:
    """What is read and shown. Raises BadInput for the text of an ordinary prompt."""
    assert isinstance(sizes, UNetSizes)
    context = torch.cat([cond["cross_attn"] for cond in conds])
    if context.shape[-1] not in (sizes.context, sizes.context + CAMERA) or any("concat_latent_image" not in cond for cond in conds):
        raise BadInput(
            f"A {NAME} model reads {sizes.context + CAMERA} numbers, a picture and where the camera went; these are {context.shape[-1]}.",
            hint="Use the node StableZero123_Conditioning with the image encoder and the VAE of the checkpoint.",
        )
    return {"context": context, "concat": torch.cat([_shown(cond, shape) for cond in conds])}


FAMILIES = (
    replace(
        SD1_FAMILY,
        name=NAME,
        signature=Signature(has=(*SD1_FAMILY.signature.has, TURNED), lacks=SD1_FAMILY.signature.lacks, where=sd1(8)),
        beside=("cc_projection.bias",),
        sizes=sizes_sd1,
        build=Zero123UNet,
        inputs=inputs,
        text=None,
    ),
)

"""What Flux's special nets are shown beside the noisy latent, as extra input channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import FLUX
from backend.families.flux.conditions import Cond
from backend.families.flux.net import FluxSizes

CELL = 8
"""Pixels of the mask along each side of a latent cell; each is a channel."""


def followed(cond: Cond, shape: Sequence[int], sizes: FluxSizes) -> Tensor:
    """The latent of the picture whose edges or depth are followed [n, 16, H, W]; an empty one where the conditioning has none."""
    image: Tensor | None = cond.get("concat_latent_image")
    if image is None:
        image = torch.zeros(1, sizes.channels, *shape[-2:])
    elif image.shape[1] != sizes.channels:
        raise BadInput(
            f"The model is shown a latent of {image.shape[1]} channels; it takes {sizes.channels}.",
            hint="Encode the picture with the model's own VAE.",
        )
    image = FLUX.process_in(image.float())
    if tuple(image.shape[-2:]) != tuple(shape[-2:]):
        image = F.interpolate(image, size=tuple(shape[-2:]), mode="bilinear")
    return image


def inpainting(cond: Cond, shape: Sequence[int], sizes: FluxSizes) -> Tensor:
    """The latent of the picture without its masked part, and the mask (1: paint here) cell by cell: [n, 16 + 64, H, W].

    From the conditioning (`concat_latent_image`, `concat_mask`), else the mask of the latent; without a mask all is painted.
    """
    picture = followed(cond, shape, sizes)
    mask: Tensor | None = cond.get("concat_mask")
    mask = cond.get("denoise_mask") if mask is None else mask
    height, width = shape[-2], shape[-1]
    if mask is None:
        return torch.cat([picture, torch.ones(len(picture), CELL * CELL, height, width)], dim=1)
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).float().cpu()
    if tuple(mask.shape[-2:]) != (height * CELL, width * CELL):
        mask = F.interpolate(mask, size=(height * CELL, width * CELL), mode="bilinear")
    cells = F.pixel_unshuffle(mask, CELL)
    count = max(len(picture), len(cells))
    return torch.cat([picture.expand(count, -1, -1, -1), cells.expand(count, -1, -1, -1)], dim=1)

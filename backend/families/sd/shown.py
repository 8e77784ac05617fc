"""Pictures that nets of this kind are shown beside the noisy latent, as extra input channels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.diffusion.latent import LatentFormat
from backend.families.sd.conditions import Cond, Shown

GREY = (0.8223, -0.6876, 0.6364, 0.1380)
"""A mid-grey picture as an SD net sees it: what an inpainting net is shown where no picture was given."""


def inpainting(latent: LatentFormat) -> Shown:
    """Mask (1: paint here) and the picture without its masked part: five channels (Rombach et al. 2022, section 4.5).

    From the conditioning (`concat_mask`, `concat_latent_image`), else from the latent that is sampled and its noise mask
    (`denoise_mask`, and `latent_image` as the net sees it), else everything is to be painted.
    """

    def shown(cond: Cond, shape: Sequence[int]) -> Tensor:
        size = (shape[-2], shape[-1])
        mask: Tensor | None = cond.get("concat_mask")
        mask = cond.get("denoise_mask") if mask is None else mask
        image: Tensor | None = cond.get("concat_latent_image")
        if image is not None:
            picture = latent.process_in(resized(image, size))
        elif mask is not None and cond.get("latent_image") is not None:
            picture = resized(cond["latent_image"], size)
        else:
            picture = torch.tensor(GREY).reshape(1, len(GREY), 1, 1).expand(1, len(GREY), *size)
        hole = torch.ones(1, 1, *size) if mask is None else resized(mask.reshape(-1, 1, *mask.shape[-2:]), size).round()
        count = max(len(picture), len(hole))
        return torch.cat([repeated(hole, count).to(picture), repeated(picture, count)], dim=1)

    return shown


def edited(latent: LatentFormat | None = None) -> Shown:
    """The latent of the picture to edit, or nothing (zeros): instruct-pix2pix (Brooks et al. 2023, arXiv:2211.09800).

    As the autoencoder made it, or scaled by `latent`.
    """

    def shown(cond: Cond, shape: Sequence[int]) -> Tensor:
        image: Tensor | None = cond.get("concat_latent_image")
        if image is None:
            return torch.zeros(1, 4, shape[-2], shape[-1])
        image = resized(image, (shape[-2], shape[-1]))
        return image if latent is None else latent.process_in(image)

    return shown


def required(key: str, channels: int, what: str, node: str) -> Shown:
    """What lies in the conditioning under `key`, fitted to the latent. Raises BadInput where nothing does, or other channels."""

    def shown(cond: Cond, shape: Sequence[int]) -> Tensor:
        image: Tensor | None = cond.get(key)
        if image is None:
            raise BadInput(f"This model must be shown {what}, and the conditioning holds none.", hint=f"Use the node {node}.")
        if image.shape[1] != channels:
            raise BadInput(f"This model is shown {channels} channels ({what}), and the conditioning holds {image.shape[1]}.")
        return resized(image, (shape[-2], shape[-1]))

    return shown


def resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, C, h, w] bilinearly to `size`, in float32."""
    x = x.float()
    return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size=size, mode="bilinear")


def repeated(x: Tensor, count: int) -> Tensor:
    """x [n, ...] over and over, to `count` rows."""
    return x.repeat(-(-count // len(x)), *[1] * (x.ndim - 1))[:count]

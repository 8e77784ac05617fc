"""Making batches agree."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backend.imaging.resize import resize_image


def repeat_to_batch(values: Tensor, size: int) -> Tensor:
    """The first `size` entries of `values` repeated cyclically along the batch axis. `values` must not be empty."""
    count = values.shape[0]
    if count == size:
        return values
    if count == 0:
        raise ValueError("an empty batch cannot be repeated")
    return values.repeat(math.ceil(size / count), *[1] * (values.ndim - 1))[:size]


def match_channels(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Give two images `[B, H, W, C]` the same channel count: the one without alpha gets an opaque one."""
    channels = max(a.shape[-1], b.shape[-1])
    return _with_channels(a, channels), _with_channels(b, channels)


def _with_channels(image: Tensor, channels: int) -> Tensor:
    missing = channels - image.shape[-1]
    if missing == 0:
        return image
    return torch.cat([image, image.new_ones(*image.shape[:-1], missing)], dim=-1)


def concat_images(a: Tensor, b: Tensor, method: str = "bilinear") -> Tensor:
    """Batch two images `[B, H, W, C]`; the second is resized (centre crop) to the size of the first."""
    a, b = match_channels(a, b)
    if a.shape[1:3] != b.shape[1:3]:
        b = resize_image(b, a.shape[2], a.shape[1], method, "center")
    return torch.cat([a, b], dim=0)

"""Preparing a picture and its mask for inpainting."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from backend.imaging.masks import batched


def cropped(pixels: Tensor, mask: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Picture `[B, H, W, C]` and mask `[n, 1, H, W]` (resized to the picture), both cut evenly to multiples of `factor`."""
    height, width = pixels.shape[1:3]
    planes = F.interpolate(batched(mask).unsqueeze(1).float(), size=(height, width), mode="bilinear")
    kept_h, kept_w = height // factor * factor, width // factor * factor
    top, left = height % factor // 2, width % factor // 2
    return pixels[:, top : top + kept_h, left : left + kept_w], planes[:, :, top : top + kept_h, left : left + kept_w]


def greyed(pixels: Tensor, mask: Tensor) -> Tensor:
    """The colours `[B, H, W, 3]` with mid grey where the mask `[n, 1, H, W]` rounds to 1."""
    keep = 1 - mask.round().movedim(1, -1)
    return (pixels[..., :3] - 0.5) * keep + 0.5


def grown(mask: Tensor, by: int) -> Tensor:
    """The mask `[n, 1, H, W]`, 0 or 1, widened on all sides by about half of `by` pixels."""
    rounded = mask.round()
    if by == 0:
        return rounded
    padding = math.ceil((by - 1) / 2)
    padded = F.pad(rounded, (padding,) * 4)
    return F.max_pool2d(padded, by, stride=1)[..., : mask.shape[-2], : mask.shape[-1]]

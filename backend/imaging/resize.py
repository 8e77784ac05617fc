"""Resampling of planar tensors `[B, C, H, W]` (and `[B, C, T, H, W]`, frame by frame)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from backend.imaging.slerp import bislerp

IMAGE_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "lanczos")
LATENT_METHODS = ("nearest-exact", "bilinear", "area", "bicubic", "bislerp")
CROPS = ("disabled", "center")


def resize(planes: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """Resample to `width` x `height`; `crop="center"` first cuts the middle part of the wanted aspect ratio.

    Shapes: `[B, C, H, W]` or `[B, C, T, H, W]` in, the same layout out. `lanczos` expects values in 0..1 and keeps them there.
    Raises ValueError for an unknown method or crop and for a size below 1.
    """
    if width < 1 or height < 1:
        raise ValueError(f"cannot resize to {width} x {height}: both sides must be at least 1")
    if planes.ndim == 5:
        b, c, t, h, w = planes.shape
        frames = planes.movedim(2, 1).reshape(b * t, c, h, w)
        out = resize(frames, width, height, method, crop)
        return out.reshape(b, t, c, height, width).movedim(1, 2)
    if crop == "center":
        planes = centre_crop(planes, width / height)
    elif crop != "disabled":
        raise ValueError(f"unknown crop {crop!r}; known: {', '.join(CROPS)}")
    if method == "bislerp":
        return bislerp(planes, width, height)
    if method == "lanczos":
        return lanczos(planes, width, height)
    if method not in IMAGE_METHODS:
        raise ValueError(f"unknown method {method!r}; known: {', '.join(IMAGE_METHODS)}, bislerp")
    return F.interpolate(planes, size=(height, width), mode=method)


def resize_image(images: Tensor, width: int, height: int, method: str, crop: str = "disabled") -> Tensor:
    """`resize` for images `[B, H, W, C]`."""
    return resize(images.movedim(-1, 1), width, height, method, crop).movedim(1, -1)


def centre_crop(planes: Tensor, aspect: float) -> Tensor:
    """The largest centred part of `[..., H, W]` whose width / height is `aspect` (to the nearest pixel on each side)."""
    height, width = planes.shape[-2:]
    x = y = 0
    if width / height > aspect:
        x = round((width - height * aspect) / 2)
    else:
        y = round((height - width / aspect) / 2)
    return planes[..., y : height - y, x : width - x]


def lanczos(planes: Tensor, width: int, height: int) -> Tensor:
    """Lanczos-3 with antialiasing on values in 0..1, in floating point (no 8-bit rounding). Overshoot is clamped."""
    from PIL import Image

    flat = planes.detach().float().cpu().reshape(-1, *planes.shape[-2:]).contiguous()
    out = torch.empty(flat.shape[0], height, width)
    for i, plane in enumerate(flat):
        resized = Image.fromarray(plane.numpy()).resize((width, height), Image.Resampling.LANCZOS)
        out[i] = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.float32).reshape(height, width)
    return out.clamp_(0, 1).reshape(*planes.shape[:-2], height, width).to(planes)


def fit_within(width: int, height: int, largest: int) -> tuple[int, int]:
    """Size with the same aspect ratio whose longer side is `largest`; the shorter one is rounded, at least 1."""
    if height > width:
        return max(1, round(width / height * largest)), largest
    return largest, max(1, round(height / width * largest))

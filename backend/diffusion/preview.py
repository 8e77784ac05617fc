"""Pictures of a sampling under way: the estimate x0 as colours, encoded only if somebody looks."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image, ImageOps
from torch import Tensor

from backend.diffusion.latent import LatentFormat

Decode = Callable[[Tensor], Tensor]
"""A small decoder: latent [1, C, H, W] in the net's scale -> colours [1, 3, h, w] in 0..1."""

MOST_PIXELS = 512
_QUALITY = 95


def colours(x0: Tensor, fmt: LatentFormat) -> Tensor | None:
    """The first latent of x0 [B, C, ...] (the middle frame of a video) as [3, H, W] in 0..1 by the format's matrix, or None without one."""
    if not fmt.rgb or x0.ndim not in (4, 5):
        return None
    first = (x0[0] if x0.ndim == 4 else x0[0, :, x0.shape[2] // 2]).detach().float().cpu()
    matrix = torch.tensor(fmt.rgb)
    rgb = torch.einsum("chw,cr->rhw", first, matrix) + torch.tensor(fmt.rgb_bias)[:, None, None]
    return ((rgb + 1) / 2).clamp(0, 1)


def picture(rgb: Tensor) -> Image.Image:
    """[3, H, W] in 0..1 as an image."""
    return Image.fromarray((rgb * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy())


Encode = Callable[[], tuple[str, bytes]]


def encoder(x0: Tensor, fmt: LatentFormat, *, most: int = MOST_PIXELS, decode: Decode | None = None) -> Encode | None:
    """A function that makes ("jpeg", bytes) of x0, at most `most` pixels a side, or None when this format cannot be shown.

    The tensor is kept, not copied; nothing is computed or moved until the function is called.
    """
    if decode is None and (not fmt.rgb or x0.ndim not in (4, 5)):
        return None

    def encode() -> tuple[str, bytes]:
        with torch.inference_mode():
            rgb = colours(x0, fmt) if decode is None else decode(x0[:1]).float().cpu()[0].clamp(0, 1)
        assert rgb is not None
        out = io.BytesIO()
        ImageOps.contain(picture(rgb), (most, most), Image.Resampling.BILINEAR).save(out, format="JPEG", quality=_QUALITY)
        return "jpeg", out.getvalue()

    return encode

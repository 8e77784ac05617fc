"""Putting one picture or latent onto another. Planar layout `[B, C, H, W]` (a 5-D latent keeps its frames between C and H)."""

from __future__ import annotations

import torch
from torch import Tensor

from backend.imaging.batch import repeat_to_batch
from backend.imaging.masks import batched
from backend.imaging.resize import resize


def composite(
    destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, scale: int = 1, resize_source: bool = False
) -> Tensor:
    """`destination` with `source` laid over it at pixel (x, y); where `mask` (`[B, H, W]`, any size) is 0 the destination stays.

    `scale` is pixels per cell of the tensors (8 for latents of an f8 codec). Parts outside the destination are cut off; the source is
    repeated to the destination's batch size and, if asked, first resized to the destination.
    """
    out = destination.clone()
    source = source.to(out)
    height, width = out.shape[-2:]
    if resize_source:
        source = resize(source, width, height, "bilinear")
    source = repeat_to_batch(source, out.shape[0])
    left = max(-source.shape[-1] * scale, min(x, width * scale)) // scale
    top = max(-source.shape[-2] * scale, min(y, height * scale)) // scale
    weight = _weight(mask, source)
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(left + source.shape[-1], width), min(top + source.shape[-2], height)
    if x1 <= x0 or y1 <= y0:
        return out
    from_x, from_y = slice(x0 - left, x1 - left), slice(y0 - top, y1 - top)
    part, amount = source[..., from_y, from_x], weight[..., from_y, from_x]
    under = out[..., y0:y1, x0:x1]
    out[..., y0:y1, x0:x1] = part * amount + under * (1 - amount)
    return out


def _weight(mask: Tensor | None, source: Tensor) -> Tensor:
    """The mask as `[B, 1, (1,) H, W]` of the source's size; ones where there is none."""
    height, width = source.shape[-2:]
    if mask is None:
        return source.new_ones(1, *[1] * (source.ndim - 3), height, width)
    planes = resize(batched(mask).unsqueeze(1).to(source), width, height, "bilinear")
    planes = repeat_to_batch(planes, source.shape[0])
    return planes if source.ndim == 4 else planes.unsqueeze(2)


def composite_image(destination: Tensor, source: Tensor, x: int, y: int, mask: Tensor | None = None, resize_source: bool = False) -> Tensor:
    """`composite` for images `[B, H, W, C]`; a source with more or fewer channels is cut or gets an opaque alpha."""
    channels = destination.shape[-1]
    if source.shape[-1] < channels:
        source = torch.cat([source, source.new_ones(*source.shape[:-1], channels - source.shape[-1])], dim=-1)
    source = source[..., :channels]
    out = composite(destination.movedim(-1, 1), source.movedim(-1, 1), x, y, mask, 1, resize_source)
    return out.movedim(1, -1)


def paste_feathered(destination: Tensor, source: Tensor, x: int, y: int, feather: int) -> Tensor:
    """Paste `source` `[B, C, h, w]` at cell (x, y); borders inside the destination fade over `feather` cells: (i + 1) / feather."""
    out = destination.clone()
    height, width = out.shape[-2:]
    source = repeat_to_batch(source.to(out), out.shape[0])[..., : max(0, height - y), : max(0, width - x)]
    h, w = source.shape[-2:]
    if h == 0 or w == 0:
        return out
    rows, columns = out.new_ones(h), out.new_ones(w)
    steps = torch.arange(1, feather + 1, dtype=out.dtype, device=out.device) / max(feather, 1)
    if y > 0:
        rows[:feather] *= steps[:h]
    if x > 0:
        columns[:feather] *= steps[:w]
    if y + h < height:
        rows[max(0, h - feather) :] *= steps.flip(0)[-h:]
    if x + w < width:
        columns[max(0, w - feather) :] *= steps.flip(0)[-w:]
    amount = rows[:, None] * columns
    part = out[..., y : y + h, x : x + w]
    out[..., y : y + h, x : x + w] = source * amount + part * (1 - amount)
    return out


def pad_for_outpaint(images: Tensor, left: int, top: int, right: int, bottom: int, feathering: int) -> tuple[Tensor, Tensor]:
    """Images `[B, H, W, C]` on a larger grey canvas and a mask `[1, H', W']` that is 1 on what is new.

    Inside the old picture, near sides that were extended, the mask falls off as (1 - d / feathering)^2 with the distance d to the edge.
    """
    b, height, width, channels = images.shape
    canvas = images.new_full((b, height + top + bottom, width + left + right, channels), 0.5)
    canvas[:, top : top + height, left : left + width] = images
    mask = images.new_ones(1, height + top + bottom, width + left + right)
    inner = images.new_zeros(height, width)
    if feathering > 0 and feathering * 2 < height and feathering * 2 < width:
        far = float(max(height, width))
        rows, columns = torch.arange(height, dtype=torch.float32), torch.arange(width, dtype=torch.float32)
        down = rows if top else torch.full_like(rows, far)
        up = height - rows if bottom else torch.full_like(rows, far)
        across = columns if left else torch.full_like(columns, far)
        back = width - columns if right else torch.full_like(columns, far)
        distance = torch.minimum(torch.minimum(down, up)[:, None], torch.minimum(across, back)[None, :])
        inner = (1 - distance / feathering).clamp_min(0).square().to(images)
    mask[:, top : top + height, left : left + width] = inner
    return canvas, mask

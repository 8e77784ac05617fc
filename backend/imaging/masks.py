"""Masks `[B, H, W]`, 1 = selected. Every function returns a new tensor."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

OPERATIONS = ("multiply", "add", "subtract", "and", "or", "xor")
_POOL = 8  # radius of one pooling pass; larger radii are several passes, so the cost grows linearly


def batched(mask: Tensor) -> Tensor:
    """`[H, W]`, `[B, H, W]` or `[B, 1, H, W]` as `[B, H, W]`."""
    return mask.reshape(-1, mask.shape[-2], mask.shape[-1])


def grow(mask: Tensor, radius: int, tapered_corners: bool = True) -> Tensor:
    """Grey dilation by `radius` pixels (erosion when negative); with tapered corners the neighbourhood is a diamond, else a square.

    The diamond of radius n is n times the 4-neighbourhood, the square n times the 8-neighbourhood.
    """
    planes = batched(mask).unsqueeze(1).float()
    sign = -1.0 if radius < 0 else 1.0
    planes = planes * sign
    left = min(abs(radius), planes.shape[-2] + planes.shape[-1])  # beyond that nothing can change
    if tapered_corners:
        for _ in range(left):
            planes = _cross(planes)
    else:
        while left > 0:
            step = min(left, _POOL)
            planes = dilate_square(planes, step)
            left -= step
    return (planes * sign).squeeze(1).to(mask.dtype)


def _cross(planes: Tensor) -> Tensor:
    """Maximum over each pixel and its four neighbours."""
    wide = F.max_pool2d(planes, (1, 3), stride=1, padding=(0, 1))
    tall = F.max_pool2d(planes, (3, 1), stride=1, padding=(1, 0))
    return torch.maximum(wide, tall)


def dilate_square(planes: Tensor, radius: int) -> Tensor:
    """Maximum over a square of side 2 radius + 1 of `[B, C, H, W]` (outside the picture counts as minus infinity)."""
    wide = F.max_pool2d(planes, (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return F.max_pool2d(wide, (2 * radius + 1, 1), stride=1, padding=(radius, 0))


def feather(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Fade the borders linearly: the pixel at distance i from an edge feathered by n keeps (i + 1) / n. Lengths are cut to the size."""
    out = batched(mask).clone()
    height, width = out.shape[-2:]
    rows, columns = out.new_ones(height), out.new_ones(width)
    columns = columns * _ramp(width, left, out) * _ramp(width, right, out).flip(0)
    rows = rows * _ramp(height, top, out) * _ramp(height, bottom, out).flip(0)
    return out * rows[:, None] * columns


def _ramp(size: int, length: int, like: Tensor) -> Tensor:
    length = min(length, size)
    ramp = like.new_ones(size)
    if length > 0:
        ramp[:length] = torch.arange(1, length + 1, dtype=like.dtype, device=like.device) / length
    return ramp


def combine(destination: Tensor, source: Tensor, x: int, y: int, operation: str) -> Tensor:
    """Apply `source` onto `destination` at (x, y): arithmetic or, after rounding to 0/1, logical. Values stay in 0..1.

    A source of another batch size is repeated. Raises ValueError for an unknown operation.
    """
    out, source = batched(destination).clone(), batched(source)
    if source.shape[0] != out.shape[0]:
        batch = max(source.shape[0], out.shape[0])
        if out.shape[0] not in (1, batch) or source.shape[0] not in (1, batch):
            raise ValueError(f"masks of batch sizes {out.shape[0]} and {source.shape[0]} do not pair up")
        out, source = out.expand(batch, -1, -1).clone(), source.expand(batch, -1, -1)
    right, bottom = min(x + source.shape[-1], out.shape[-1]), min(y + source.shape[-2], out.shape[-2])
    if right <= x or bottom <= y:
        return out
    part = source[:, : bottom - y, : right - x].to(out)
    under = out[:, y:bottom, x:right]
    out[:, y:bottom, x:right] = _combined(under, part, operation)
    return out.clamp_(0, 1)


def _combined(under: Tensor, part: Tensor, operation: str) -> Tensor:
    if operation == "multiply":
        return under * part
    if operation == "add":
        return under + part
    if operation == "subtract":
        return under - part
    one, two = under.round().bool(), part.round().bool()
    if operation == "and":
        return (one & two).to(under)
    if operation == "or":
        return (one | two).to(under)
    if operation == "xor":
        return (one ^ two).to(under)
    raise ValueError(f"unknown mask operation {operation!r}; known: {', '.join(OPERATIONS)}")


def colour_mask(images: Tensor, colour: int) -> Tensor:
    """1 where an image `[B, H, W, C]`, in 8 bits, is exactly the colour 0xRRGGBB."""
    rgb = (images[..., :3].clamp(0, 1) * 255).round().int()
    packed = rgb[..., 0] * 65536 + rgb[..., 1] * 256 + rgb[..., 2]
    return (packed == colour).to(images.dtype)


def bounds(mask: Tensor) -> tuple[int, int, int, int] | None:
    """(x, y, width, height) of the non-zero part over the whole batch; None when the mask is empty."""
    hit = (batched(mask) != 0).any(dim=0)
    rows, columns = hit.any(dim=1).nonzero(), hit.any(dim=0).nonzero()
    if len(rows) == 0:
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1


def morph(planes: Tensor, operation: str, size: int) -> Tensor:
    """Grey morphology of `[B, C, H, W]` with a flat square of side `size`; ValueError for an unknown operation.

    An even side reaches one cell further to the left and top. Outside the picture nothing counts.
    """
    if operation == "dilate":
        return _square(planes, size)
    if operation == "erode":
        return -_square(-planes, size)
    if operation == "gradient":
        return morph(planes, "dilate", size) - morph(planes, "erode", size)
    opened = {"open": ("erode", "dilate"), "top_hat": ("erode", "dilate"), "close": ("dilate", "erode"), "bottom_hat": ("dilate", "erode")}
    if operation not in opened:
        raise ValueError(f"unknown operation {operation!r}")
    first, second = opened[operation]
    result = morph(morph(planes, first, size), second, size)
    if operation == "top_hat":
        return planes - result
    return result - planes if operation == "bottom_hat" else result


def _square(planes: Tensor, size: int) -> Tensor:
    """Maximum over a square of side `size`, separably and in passes of at most 2 * _POOL + 1 cells."""
    before, after = size // 2, size - 1 - size // 2
    while before or after:
        b, a = min(before, _POOL), min(after, _POOL)
        padded = F.pad(planes, (b, a, b, a), value=-torch.inf)
        planes = F.max_pool2d(F.max_pool2d(padded, (1, b + a + 1), stride=1), (b + a + 1, 1), stride=1)
        before, after = before - b, after - a
    return planes

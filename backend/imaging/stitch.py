"""Working on a part of a picture at the size a model likes, and putting it back: crop and stitch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.imaging.edges import gaussian
from backend.imaging.masks import batched, bounds
from backend.imaging.resize import resize, resize_image


@dataclass(frozen=True)
class Stitch:
    """Where a crop came from. `canvas` [B, H, W, C] is the picture, grown where the crop reached over its border."""

    canvas: Tensor
    left: int
    top: int
    width: int
    height: int
    """Of the crop on the canvas."""
    blend: Tensor
    """[B, height, width]: how much of the new pixels is taken."""
    margins: tuple[int, int, int, int]
    """left, top, right, bottom: what was added around the picture."""


def crop(
    images: Tensor, mask: Tensor, *, context: float, padding: int, grow: int, blur: int, width: int, height: int, multiple: int
) -> tuple[Stitch, Tensor, Tensor]:
    """(how to put it back, the part of the pictures around the mask, its mask).

    The box around what any mask selects is widened by `padding` pixels and by the factor `context`, then to the aspect of the target.
    The part is resized to `width` x `height` (0: it keeps its size, rounded up to `multiple`). `grow` widens the mask and `blur` softens
    it for putting back. A box that leaves the picture goes on with its border pixels. Raises BadInput for an empty mask.
    """
    batch, rows, columns = images.shape[:3]
    planes = batched(mask).to(images)
    if planes.shape[1:] != (rows, columns):
        planes = resize(planes.unsqueeze(1), columns, rows, "bilinear").squeeze(1)
    planes = planes.expand(batch, -1, -1) if planes.shape[0] == 1 else planes
    if planes.shape[0] != batch:
        raise BadInput(f"There are {batch} images and {planes.shape[0]} masks.", hint="Use one mask, or one for each.", input="mask")
    found = bounds(planes)
    if found is None:
        raise BadInput("The mask selects nothing.", hint="Draw what should be changed.", input="mask")
    if grow:
        planes = F.max_pool2d(planes.unsqueeze(1), 2 * grow + 1, 1, grow).squeeze(1)
    left, top, across, down = found
    box = _box(left, top, left + across, top + down, context, padding, width, height, multiple)
    margins = (max(0, -box[0]), max(0, -box[1]), max(0, box[2] - columns), max(0, box[3] - rows))
    canvas = F.pad(images.movedim(-1, 1), (margins[0], margins[2], margins[1], margins[3]), mode="replicate").movedim(1, -1)
    mask_canvas = F.pad(planes.unsqueeze(1), (margins[0], margins[2], margins[1], margins[3])).squeeze(1)
    x, y, wide, high = box[0] + margins[0], box[1] + margins[1], box[2] - box[0], box[3] - box[1]
    part, part_mask = canvas[:, y : y + high, x : x + wide], mask_canvas[:, y : y + high, x : x + wide]
    blend = part_mask
    if blur:
        # widened by the blur first, so that what is selected is replaced whole
        wider = F.max_pool2d(part_mask.unsqueeze(1), 2 * blur + 1, 1, blur)
        blend = torch.maximum(gaussian(wider, blur / 2), part_mask.unsqueeze(1)).squeeze(1)
    stitch = Stitch(canvas, x, y, wide, high, blend.clamp(0, 1), margins)
    if width and height:
        part = resize_image(part, width, height, "lanczos" if wide * high > width * height else "bicubic").clamp(0, 1)
        part_mask = resize(part_mask.unsqueeze(1), width, height, "bilinear").squeeze(1)
    return stitch, part, part_mask


def _box(
    left: int, top: int, right: int, bottom: int, context: float, padding: int, width: int, height: int, multiple: int
) -> tuple[int, ...]:
    wide, high = (right - left) * context + 2 * padding, (bottom - top) * context + 2 * padding
    if width and height:
        wide, high = max(wide, high * width / height), max(high, wide * height / width)
    across, down = (max(1, round(side)) for side in (wide, high))
    if not (width and height):
        across, down = (-(-side // multiple) * multiple for side in (across, down))
    x, y = round((left + right - across) / 2), round((top + bottom - down) / 2)
    return x, y, x + across, y + down


def put_back(stitch: Stitch, images: Tensor) -> Tensor:
    """The pictures with the part replaced by `images` [B, h, w, C], of any size."""
    part = images
    if part.shape[1:3] != (stitch.height, stitch.width):
        part = resize_image(part, stitch.width, stitch.height, "lanczos").clamp(0, 1)
    count = max(part.shape[0], stitch.canvas.shape[0])
    canvas, part, blend = (
        t if t.shape[0] == count else t.repeat(-(-count // t.shape[0]), *[1] * (t.ndim - 1))[:count]
        for t in (stitch.canvas, part, stitch.blend)
    )
    made = canvas.clone()
    where = (slice(None), slice(stitch.top, stitch.top + stitch.height), slice(stitch.left, stitch.left + stitch.width))
    weight = blend.unsqueeze(-1)
    channels = min(part.shape[-1], made.shape[-1])
    made[where] = torch.cat([part[..., :channels] * weight + made[where][..., :channels] * (1 - weight), made[where][..., channels:]], -1)
    left, top, right, bottom = stitch.margins
    return made[:, top : made.shape[1] - bottom, left : made.shape[2] - right]

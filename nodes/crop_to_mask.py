"""What a mask shows, cut out and put on a ground of its own."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Float, Int, Text, node
from backend.imaging.masks import batched, bounds, grow
from backend.imaging.resize import resize
from nodes.types import MAX_SIDE, Image, Mask


@node("ImageCropToMask", title="Crop Image to Mask", category="image/transform", module="nodes", outputs=("images",))
def image_crop_to_mask(
    ctx: Context,
    *,
    images: Image,
    masks: Mask,
    width: int = Int(1024, min=1, max=MAX_SIDE),
    height: int = Int(1024, min=1, max=MAX_SIDE),
    pad_factor: float = Float(1.1, min=1.0, max=10.0, step=0.01, tooltip="How much larger the cut is than what the mask shows."),
    grow_mask: int = Int(0, min=0, max=512, tooltip="Pixels of the picture."),
    background: str = Text("#000000", tooltip="What lies outside of the mask: a colour such as #ff8800."),
) -> Image:
    """Cut what a mask shows out of a picture, centred at the given size, before an even background."""
    colour = _colour(ctx, background)
    masks = batched(masks)
    if len(masks) not in (1, len(images)):
        text = f"There are {len(images)} images and {len(masks)} masks."
        raise BadInput(text, hint="Connect one mask for all, or one for each.", node=ctx.node, input="masks")
    found = []
    for i, image in enumerate(images):
        mask = masks[i % len(masks)][None, None].float()
        if mask.shape[2:] != image.shape[:2]:
            mask = resize(mask, image.shape[1], image.shape[0], "bilinear")
        mask = grow(mask[0], grow_mask)[0] if grow_mask else mask[0, 0]
        ground = colour.to(image).view(3, 1, 1)
        picture = ground + (image[..., :3].movedim(-1, 0) - ground) * mask
        found.append(resize(_cut(picture, ground, mask, width, height, pad_factor)[None], width, height, "lanczos"))
    return torch.cat(found).movedim(1, -1).clamp(0, 1)


def _cut(picture: Tensor, ground: Tensor, mask: Tensor, width: int, height: int, factor: float) -> Tensor:
    """[3, H, W] -> the part around the mask in the aspect asked for, all where the mask is empty; beyond the picture the ground goes on."""
    left, top, right, bottom = _box(mask)
    scale = max((right - left) / width, (bottom - top) / height) * factor
    wide, high = max(1, round(width * scale)), max(1, round(height * scale))
    left, top = round((left + right - wide) / 2), round((top + bottom - high) / 2)
    sides = (max(0, -left), max(0, left + wide - picture.shape[2]), max(0, -top), max(0, top + high - picture.shape[1]))
    larger = F.pad(picture - ground, sides) + ground
    return larger[:, top + sides[2] : top + sides[2] + high, left + sides[0] : left + sides[0] + wide]


def _box(mask: Tensor) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (beyond) of where a mask [H, W] is more than half; of all of it where it is nowhere."""
    found = bounds(mask > 0.5)
    x, y, width, height = (0, 0, mask.shape[1], mask.shape[0]) if found is None else found
    return x, y, x + width, y + height


def _colour(ctx: Context, text: str) -> Tensor:
    digits = text.strip().removeprefix("#")
    digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
    try:
        if len(digits) != 6:
            raise ValueError
        return torch.tensor([int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)])
    except ValueError:
        hint = "A colour is a # and six digits from 0 to f, such as #ff8800."
        raise BadInput(f"`background` is {text!r:.40}, no colour.", hint=hint, node=ctx.node, input="background") from None

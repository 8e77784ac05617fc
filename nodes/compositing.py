"""Images with alpha: compositing, splitting, joining. A mask here is transparency: 1 = see-through, as images are loaded."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from backend.engine.context import Context
from backend.graph.declare import Combo, node
from backend.imaging.batch import repeat_to_batch
from backend.imaging.blend import PORTER_DUFF, porter_duff
from backend.imaging.masks import batched
from backend.imaging.resize import resize, resize_image
from nodes.types import Image, Mask

compositing_node = partial(node, category="mask/compositing", module="comfy_extras.nodes_compositing", form="v3")


class ImageAndMask(NamedTuple):
    IMAGE: Image
    MASK: Mask


def _alpha(mask: Mask, width: int, height: int, count: int) -> torch.Tensor:
    """Opacity `[count, height, width, 1]` of a transparency mask."""
    planes = batched(mask).unsqueeze(1)
    if planes.shape[-2:] != (height, width):
        planes = resize(planes, width, height, "bicubic", "center").clamp(0, 1)
    return 1 - repeat_to_batch(planes, count).movedim(1, -1)


@compositing_node("PorterDuffImageComposite", title="Porter-Duff Image Composite")
def porter_duff_image_composite(
    ctx: Context,
    *,
    source: Image,
    source_alpha: Mask,
    destination: Image,
    destination_alpha: Mask,
    mode: str = Combo(PORTER_DUFF, default="DST"),
) -> ImageAndMask:
    """Composite two images with transparency by one of the classic rules; the source takes the size of the destination."""
    height, width = destination.shape[1:3]
    count = max(source.shape[0], destination.shape[0])
    if source.shape[1:3] != destination.shape[1:3]:
        source = resize_image(source, width, height, "bicubic", "center").clamp(0, 1)
    over, under = (repeat_to_batch(image[..., :3], count) for image in (source, destination))
    image, alpha = porter_duff(
        over, _alpha(source_alpha, width, height, count), under, _alpha(destination_alpha, width, height, count), mode
    )
    return ImageAndMask(image, 1 - alpha.squeeze(-1))


@compositing_node("SplitImageWithAlpha", title="Split Image with Alpha")
def split_image_with_alpha(ctx: Context, *, image: Image) -> ImageAndMask:
    """Colours, and transparency as a mask; an image without alpha is opaque."""
    transparency = 1 - image[..., 3] if image.shape[-1] > 3 else image.new_zeros(image.shape[:-1])
    return ImageAndMask(image[..., :3], transparency)


@compositing_node("JoinImageWithAlpha", title="Join Image with Alpha")
def join_image_with_alpha(ctx: Context, *, image: Image, alpha: Mask) -> Image:
    """An image with four channels, transparent where the mask is 1."""
    count = max(image.shape[0], batched(alpha).shape[0])
    colours = repeat_to_batch(image[..., :3], count)
    return torch.cat([colours, _alpha(alpha, image.shape[2], image.shape[1], count)], dim=-1)

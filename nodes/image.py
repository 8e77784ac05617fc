"""Images: sizes, batches, padding. Loading and saving are in image_files.py."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from backend.engine.context import Context
from backend.graph.declare import Choice, Float, Int, node
from backend.imaging import batch, composite
from backend.imaging.resize import CROPS, IMAGE_METHODS, resize_image
from nodes.types import MAX_SIDE, Image, Mask

image_node = partial(node, module="nodes")


class ImageAndMask(NamedTuple):
    IMAGE: Image
    MASK: Mask


@image_node("ImageScale", title="Upscale Image", category="image/upscaling")
def image_scale(
    ctx: Context,
    *,
    image: Image,
    upscale_method: str = Choice(IMAGE_METHODS),
    width: int = Int(512, min=0, max=MAX_SIDE, step=1),
    height: int = Int(512, min=0, max=MAX_SIDE, step=1),
    crop: str = Choice(CROPS),
) -> Image:
    """Resize to a size in pixels; a side of 0 follows from the other one, both 0 leave the image as it is."""
    if width == 0 and height == 0:
        return image
    old_height, old_width = image.shape[1:3]
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    return resize_image(image, width, height, upscale_method, crop)


@image_node("ImageScaleBy", title="Upscale Image By", category="image/upscaling")
def image_scale_by(
    ctx: Context, *, image: Image, upscale_method: str = Choice(IMAGE_METHODS), scale_by: float = Float(1.0, min=0.01, max=8.0, step=0.01)
) -> Image:
    """Resize by a factor."""
    width, height = max(1, round(image.shape[2] * scale_by)), max(1, round(image.shape[1] * scale_by))
    return resize_image(image, width, height, upscale_method)


@image_node("ImageInvert", title="Invert Image", category="image")
def image_invert(ctx: Context, *, image: Image) -> Image:
    """Negative of the image."""
    return 1.0 - image


@image_node("ImageBatch", title="Batch Images", category="image")
def image_batch(ctx: Context, *, image1: Image, image2: Image) -> Image:
    """Put two images (or batches) into one batch; the second takes the size of the first."""
    return batch.concat_images(image1, image2)


@image_node("ImagePadForOutpaint", title="Pad Image for Outpainting", category="image")
def image_pad_for_outpaint(
    ctx: Context,
    *,
    image: Image,
    left: int = Int(0, min=0, max=MAX_SIDE, step=8),
    top: int = Int(0, min=0, max=MAX_SIDE, step=8),
    right: int = Int(0, min=0, max=MAX_SIDE, step=8),
    bottom: int = Int(0, min=0, max=MAX_SIDE, step=8),
    feathering: int = Int(40, min=0, max=MAX_SIDE, step=1),
) -> ImageAndMask:
    """Enlarge the canvas and mask what has to be painted."""
    return ImageAndMask(*composite.pad_for_outpaint(image, left, top, right, bottom, feathering))


@image_node("EmptyImage", category="image")
def empty_image(
    ctx: Context,
    *,
    width: int = Int(512, min=1, max=MAX_SIDE, step=1),
    height: int = Int(512, min=1, max=MAX_SIDE, step=1),
    batch_size: int = Int(1, min=1, max=4096),
    color: int = Int(0, min=0, max=0xFFFFFF, step=1, display="color"),
) -> Image:
    """An image of one colour (0xRRGGBB)."""
    rgb = torch.tensor([color >> 16 & 255, color >> 8 & 255, color & 255]) / 255
    return rgb.expand(batch_size, height, width, 3).clone()

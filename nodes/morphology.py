"""Images: morphology and the Y, U, V channels."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from backend.engine.context import Context
from backend.graph.declare import Combo, Int, node
from backend.imaging import filters, masks
from nodes.types import Image

morphology_node = partial(node, module="comfy_extras.nodes_morphology", form="v3")


class YUV(NamedTuple):
    Y: Image
    U: Image
    V: Image


@morphology_node("Morphology", title="ImageMorphology", category="image/postprocessing")
def morphology(
    ctx: Context,
    *,
    image: Image,
    operation: str = Combo(["erode", "dilate", "open", "close", "gradient", "bottom_hat", "top_hat"]),
    kernel_size: int = Int(3, min=3, max=999, step=1),
) -> Image:
    """Grow or shrink bright parts with a square, and what can be made of the two."""
    return masks.morph(image.movedim(-1, 1), operation, kernel_size).movedim(1, -1)


@morphology_node("ImageRGBToYUV", category="image/batch")
def image_rgb_to_yuv(ctx: Context, *, image: Image) -> YUV:
    """Brightness and the two colour differences, each as a grey image."""
    yuv = filters.to_yuv(image)
    return YUV(*(channel.expand(-1, -1, -1, 3) for channel in torch.split(yuv, 1, dim=-1)))


@morphology_node("ImageYUVToRGB", category="image/batch")
def image_yuv_to_rgb(ctx: Context, *, Y: Image, U: Image, V: Image) -> Image:
    """Put brightness and colour differences together again."""
    return filters.from_yuv(torch.stack([channel.mean(dim=-1) for channel in (Y, U, V)], dim=-1))

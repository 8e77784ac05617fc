"""Images: blending, blurring, sharpening, fewer colours."""

from __future__ import annotations

import math
from functools import partial

import torch

from backend.engine.context import Context
from backend.graph.declare import Combo, Float, Int, node
from backend.imaging import blend, filters
from backend.imaging.batch import match_channels, repeat_to_batch
from backend.imaging.resize import IMAGE_METHODS, resize_image
from nodes.types import Image

filter_node = partial(node, category="image/postprocessing", module="comfy_extras.nodes_post_processing", form="v3")


@filter_node("ImageBlend")
def image_blend(
    ctx: Context,
    *,
    image1: Image,
    image2: Image,
    blend_factor: float = Float(0.5, min=0.0, max=1.0, step=0.01),
    blend_mode: str = Combo(blend.MODES),
) -> Image:
    """Blend the second image onto the first; a factor of 0 keeps the first."""
    first, second = match_channels(image1, image2)
    if second.shape[1:3] != first.shape[1:3]:
        second = resize_image(second, first.shape[2], first.shape[1], "bicubic", "center")
    second = repeat_to_batch(second, first.shape[0])
    mixed = blend.blend(first, second, blend_mode)
    return (first * (1 - blend_factor) + mixed * blend_factor).clamp(0, 1)


@filter_node("ImageBlur")
def image_blur(
    ctx: Context, *, image: Image, blur_radius: int = Int(1, min=1, max=31, step=1), sigma: float = Float(1.0, min=0.1, max=10.0, step=0.1)
) -> Image:
    """Gaussian blur."""
    return filters.blur(image.movedim(-1, 1), blur_radius, sigma).movedim(1, -1)


@filter_node("ImageSharpen")
def image_sharpen(
    ctx: Context,
    *,
    image: Image,
    sharpen_radius: int = Int(1, min=1, max=31, step=1),
    sigma: float = Float(1.0, min=0.1, max=10.0, step=0.01),
    alpha: float = Float(1.0, min=0.0, max=5.0, step=0.01),
) -> Image:
    """Unsharp mask."""
    return filters.sharpen(image.movedim(-1, 1), sharpen_radius, sigma, alpha).movedim(1, -1).clamp(0, 1)


@filter_node("ImageQuantize")
def image_quantize(
    ctx: Context,
    *,
    image: Image,
    colors: int = Int(256, min=1, max=256, step=1),
    dither: str = Combo(["none", "floyd-steinberg", "bayer-2", "bayer-4", "bayer-8", "bayer-16"]),
) -> Image:
    """Use at most this many colours."""
    return torch.stack([filters.posterise_palette(one[..., :3], colors, dither) for one in image])


@filter_node("ImageScaleToTotalPixels", category="image/upscaling")
def image_scale_to_total_pixels(
    ctx: Context, *, image: Image, upscale_method: str = Combo(IMAGE_METHODS), megapixels: float = Float(1.0, min=0.01, max=16.0, step=0.01)
) -> Image:
    """Resize, keeping the proportions, to a number of pixels (1 megapixel = 1024 x 1024)."""
    scale = math.sqrt(megapixels * 1024 * 1024 / (image.shape[1] * image.shape[2]))
    width, height = max(1, round(image.shape[2] * scale)), max(1, round(image.shape[1] * scale))
    return resize_image(image, width, height, upscale_method)

"""Images: cropping, turning, stitching, batches."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, Seed, node
from backend.imaging.batch import match_channels
from backend.imaging.resize import fit_within, resize_image
from nodes.types import MAX_SIDE, Image, IntOut

extra_image_node = partial(node, module="comfy_extras.nodes_images")
METHODS = ("area", "bicubic", "nearest-exact", "bilinear", "lanczos")
COLOURS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


class ImageSize(NamedTuple):
    width: IntOut
    height: IntOut
    batch_size: IntOut


@extra_image_node("ImageCrop", title="Image Crop", category="image/transform")
def image_crop(
    ctx: Context,
    *,
    image: Image,
    width: int = Int(512, min=1, max=MAX_SIDE, step=1),
    height: int = Int(512, min=1, max=MAX_SIDE, step=1),
    x: int = Int(0, min=0, max=MAX_SIDE, step=1),
    y: int = Int(0, min=0, max=MAX_SIDE, step=1),
) -> Image:
    """A rectangle of the image; what lies outside is left out."""
    x, y = min(x, image.shape[2] - 1), min(y, image.shape[1] - 1)
    return image[:, y : y + height, x : x + width]


@extra_image_node("RepeatImageBatch", category="image/batch")
def repeat_image_batch(ctx: Context, *, image: Image, amount: int = Int(1, min=1, max=4096)) -> Image:
    """The whole batch again and again."""
    return image.repeat(amount, 1, 1, 1)


@extra_image_node("ImageFromBatch", category="image/batch")
def image_from_batch(
    ctx: Context, *, image: Image, batch_index: int = Int(0, min=0, max=4095), length: int = Int(1, min=1, max=4096)
) -> Image:
    """Some consecutive images of a batch."""
    start = min(batch_index, image.shape[0] - 1)
    return image[start : start + length].clone()


@extra_image_node("ImageAddNoise", category="image")
def image_add_noise(ctx: Context, *, image: Image, seed: int = Seed(), strength: float = Float(0.5, min=0.0, max=1.0, step=0.01)) -> Image:
    """Add normal noise and cut to 0..1."""
    generator = torch.Generator().manual_seed(seed)
    return (image + strength * torch.randn(image.shape, generator=generator).to(image)).clamp(0.0, 1.0)


@extra_image_node("ImageStitch", title="Image Stitch", category="image/transform")
def image_stitch(
    ctx: Context,
    *,
    image1: Image,
    direction: str = Choice(["right", "down", "left", "up"], default="right"),
    match_image_size: bool = Bool(True),
    spacing_width: int = Int(0, min=0, max=1024, step=2),
    spacing_color: str = Choice(["white", "black", "red", "green", "blue"], default="white"),
    image2: Image | None = None,
) -> Image:
    """Put the second image beside the first, if wanted at the same height (or width), with a coloured gap."""
    if image2 is None:
        return image1
    sideways = direction in ("left", "right")
    frames = max(image1.shape[0], image2.shape[0])
    first, second = (_hold_last(image, frames) for image in (image1, image2))
    if match_image_size:
        height, width = first.shape[1:3]
        aspect = second.shape[2] / second.shape[1]
        size = (max(1, int(height * aspect)), height) if sideways else (width, max(1, int(width / aspect)))
        second = resize_image(second, *size, "lanczos")
    first, second = match_channels(first, second)
    height, width = (max(a, b) for a, b in zip(first.shape[1:3], second.shape[1:3]))
    parts = [_pad(image, *((image.shape[2], height) if sideways else (width, image.shape[1])), spacing_color) for image in (first, second)]
    if direction in ("left", "up"):
        parts.reverse()
    gap = spacing_width + spacing_width % 2
    if gap:
        like = parts[0]
        parts.insert(1, _canvas(like, gap if sideways else width, height if sideways else gap, spacing_color))
    return torch.cat(parts, dim=2 if sideways else 1)


def _hold_last(images: Tensor, frames: int) -> Tensor:
    missing = frames - images.shape[0]
    return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


def _canvas(like: Tensor, width: int, height: int, colour: str) -> Tensor:
    """An opaque picture of one colour with the batch size and channels of `like`."""
    colours = torch.tensor([*COLOURS[colour], 1.0])[: like.shape[-1]].to(like)
    return colours.expand(like.shape[0], height, width, -1).clone()


def _pad(image: Tensor, width: int, height: int, colour: str) -> Tensor:
    """Centre the image on a canvas of the given size."""
    old_height, old_width = image.shape[1:3]
    if (old_width, old_height) == (width, height):
        return image
    canvas = _canvas(image, width, height, colour)
    left, top = (width - old_width) // 2, (height - old_height) // 2
    canvas[:, top : top + old_height, left : left + old_width] = image
    return canvas


@extra_image_node("ResizeAndPadImage", category="image/transform")
def resize_and_pad_image(
    ctx: Context,
    *,
    image: Image,
    target_width: int = Int(512, min=1, max=MAX_SIDE, step=1),
    target_height: int = Int(512, min=1, max=MAX_SIDE, step=1),
    padding_color: str = Choice(["white", "black"]),
    interpolation: str = Choice(METHODS),
) -> Image:
    """Fit the image into a size, keeping its proportions, and fill the rest with a colour."""
    height, width = image.shape[1:3]
    scale = min(target_width / width, target_height / height)
    resized = resize_image(image, max(1, int(width * scale)), max(1, int(height * scale)), interpolation)
    return _pad(resized, target_width, target_height, padding_color)


@extra_image_node("GetImageSize", title="Get Image Size", category="image", hidden=("UNIQUE_ID",))
def get_image_size(ctx: Context, *, image: Image) -> ImageSize:
    """Width and height in pixels and the number of images in the batch."""
    batch, height, width = image.shape[:3]
    ctx.text(f"width: {width}, height: {height}, batch size: {batch}")
    return ImageSize(width, height, batch)


@extra_image_node("ImageRotate", category="image/transform")
def image_rotate(ctx: Context, *, image: Image, rotation: str = Choice(["none", "90 degrees", "180 degrees", "270 degrees"])) -> Image:
    """Turn clockwise by quarter turns."""
    return torch.rot90(image, k=quarter_turns(rotation), dims=(2, 1))


def quarter_turns(rotation: str) -> int:
    return {"none": 0, "90 degrees": 1, "180 degrees": 2, "270 degrees": 3}[rotation]


@extra_image_node("ImageFlip", category="image/transform")
def image_flip(ctx: Context, *, image: Image, flip_method: str = Choice(["x-axis: vertically", "y-axis: horizontally"])) -> Image:
    """Mirror top to bottom or left to right."""
    return image.flip(1 if flip_method.startswith("x") else 2)


@extra_image_node("ImageScaleToMaxDimension", category="image/upscaling")
def image_scale_to_max_dimension(
    ctx: Context,
    *,
    image: Image,
    upscale_method: str = Choice(["area", "lanczos", "bilinear", "nearest-exact", "bilinear", "bicubic"]),
    largest_size: int = Int(512, min=0, max=MAX_SIDE, step=1),
) -> Image:
    """Resize so that the longer side has this many pixels; 0 leaves the image as it is."""
    if largest_size == 0:
        return image
    return resize_image(image, *fit_within(image.shape[2], image.shape[1], largest_size), upscale_method)

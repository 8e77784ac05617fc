"""Masks: making, converting, combining."""

from __future__ import annotations

from functools import partial

import torch

from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, node
from backend.imaging import composite, masks
from nodes.types import MAX_SIDE, Image, Latent, Mask

mask_node = partial(node, module="comfy_extras.nodes_mask")


def _pixels(default: int = 0, *, min: int = 0, step: int = 1) -> int:
    widget: int = Int(default, min=min, max=MAX_SIDE, step=step)
    return widget


@mask_node("LatentCompositeMasked", category="latent")
def latent_composite_masked(
    ctx: Context,
    *,
    destination: Latent,
    source: Latent,
    x: int = _pixels(step=8),
    y: int = _pixels(step=8),
    resize_source: bool = Bool(False),
    mask: Mask | None = None,
) -> Latent:
    """Lay one latent over another at a position in pixels, where the mask is 1."""
    samples = composite.composite(destination["samples"], source["samples"], x, y, mask, 8, resize_source)
    return {**destination, "samples": samples}


@mask_node("ImageCompositeMasked", category="image")
def image_composite_masked(
    ctx: Context,
    *,
    destination: Image,
    source: Image,
    x: int = _pixels(),
    y: int = _pixels(),
    resize_source: bool = Bool(False),
    mask: Mask | None = None,
) -> Image:
    """Lay one image over another, where the mask is 1."""
    return composite.composite_image(destination, source, x, y, mask, resize_source)


@mask_node("MaskToImage", title="Convert Mask to Image", category="mask")
def mask_to_image(ctx: Context, *, mask: Mask) -> Image:
    """The mask as a grey image."""
    return masks.batched(mask).unsqueeze(-1).expand(-1, -1, -1, 3)


@mask_node("ImageToMask", title="Convert Image to Mask", category="mask")
def image_to_mask(ctx: Context, *, image: Image, channel: str = Choice(["red", "green", "blue", "alpha"])) -> Mask:
    """One channel of an image; an image without alpha counts as opaque."""
    index = ("red", "green", "blue", "alpha").index(channel)
    if index >= image.shape[-1]:
        return image.new_ones(image.shape[:-1])
    return image[..., index]


@mask_node("ImageColorToMask", category="mask")
def image_color_to_mask(ctx: Context, *, image: Image, color: int = Int(0, min=0, max=0xFFFFFF, step=1, display="color")) -> Mask:
    """1 where the image has exactly this colour."""
    return masks.colour_mask(image, color)


@mask_node("SolidMask", category="mask")
def solid_mask(
    ctx: Context,
    *,
    value: float = Float(1.0, min=0.0, max=1.0, step=0.01),
    width: int = _pixels(512, min=1),
    height: int = _pixels(512, min=1),
) -> Mask:
    """A mask with one value everywhere."""
    return torch.full((1, height, width), value)


@mask_node("InvertMask", category="mask")
def invert_mask(ctx: Context, *, mask: Mask) -> Mask:
    """Select what was not selected."""
    return 1.0 - mask


@mask_node("CropMask", category="mask")
def crop_mask(
    ctx: Context,
    *,
    mask: Mask,
    x: int = _pixels(),
    y: int = _pixels(),
    width: int = _pixels(512, min=1),
    height: int = _pixels(512, min=1),
) -> Mask:
    """A rectangle of the mask; what lies outside is left out."""
    mask = masks.batched(mask)
    x, y = min(x, mask.shape[-1] - 1), min(y, mask.shape[-2] - 1)
    return mask[:, y : y + height, x : x + width]


@mask_node("MaskComposite", category="mask")
def mask_composite(
    ctx: Context,
    *,
    destination: Mask,
    source: Mask,
    x: int = _pixels(),
    y: int = _pixels(),
    operation: str = Choice(masks.OPERATIONS),
) -> Mask:
    """Combine two masks by arithmetic or logic, the second placed at a position."""
    return masks.combine(destination, source, x, y, operation)


@mask_node("FeatherMask", category="mask")
def feather_mask(
    ctx: Context, *, mask: Mask, left: int = _pixels(), top: int = _pixels(), right: int = _pixels(), bottom: int = _pixels()
) -> Mask:
    """Fade the mask out towards its borders."""
    return masks.feather(mask, left, top, right, bottom)


@mask_node("GrowMask", category="mask")
def grow_mask(
    ctx: Context, *, mask: Mask, expand: int = Int(0, min=-MAX_SIDE, max=MAX_SIDE, step=1), tapered_corners: bool = Bool(True)
) -> Mask:
    """Grow (or, with a negative number, shrink) the selection by pixels."""
    return masks.grow(mask, expand, tapered_corners)


@mask_node("ThresholdMask", category="mask")
def threshold_mask(ctx: Context, *, mask: Mask, value: float = Float(0.5, min=0.0, max=1.0, step=0.01)) -> Mask:
    """1 where the mask is above the value, 0 elsewhere."""
    return (mask > value).float()

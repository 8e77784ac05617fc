"""Resizing images and masks by one node, batching, comparing."""

from __future__ import annotations

import math
from functools import partial
from typing import Annotated, Any

from torch import Tensor

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Combo, node
from backend.graph.schema import Socket, Widget
from backend.imaging.batch import concat_images
from backend.imaging.resize import resize
from nodes.image_files import METADATA, save_preview
from nodes.logic import growing, grown
from nodes.types import MAX_SIDE, Image

newer = partial(node, form="v3", module="comfy_extras.nodes_post_processing")
METHODS = ["nearest-exact", "bilinear", "area", "bicubic", "lanczos"]
SIDE = ["INT", {"default": 512, "min": 0, "max": MAX_SIDE, "step": 1}]
WAYS: dict[str, dict[str, Any]] = {
    "scale dimensions": {
        "width": SIDE, "height": SIDE, "crop": ["COMBO", {"default": "center", "options": ["disabled", "center"], "multiselect": False}],
    },
    "scale by multiplier": {"multiplier": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 8.0, "step": 0.01}]},
    "scale longer dimension": {"longer_size": SIDE},
    "scale shorter dimension": {"shorter_size": SIDE},
    "scale width": {"width": SIDE},
    "scale height": {"height": SIDE},
    "scale total pixels": {"megapixels": ["FLOAT", {"default": 1.0, "min": 0.01, "max": 64.0, "step": 0.01}]},
}  # fmt: skip
BOX_START = {"x": 0, "y": 0, "width": 512, "height": 512}
BOX: Any = Widget("BOUNDING_BOX", {"default": BOX_START}, False, BOX_START, True)
AnyPicture = Annotated[Tensor, Socket("IMAGE,MASK")]


def ways(options: dict[str, dict[str, Any]], default: str) -> Any:
    """A choice that brings inputs of its own, called `<choice>.<name>`, in the published form."""
    listed = [{"key": key, "inputs": {"required": inputs}} for key, inputs in options.items()]
    return Widget("COMFY_DYNAMICCOMBO_V3", {"options": listed, "default": default}, False, default, True)


@newer("ResizeImageMaskNode", title="Resize Image/Mask", category="image/transform", outputs=("resized",))
def resize_image_mask(
    ctx: Context,
    *,
    input: AnyPicture,
    resize_type: str = ways(WAYS, "scale dimensions"),
    scale_method: str = Combo(METHODS, default="area"),
    **options: Any,
) -> AnyPicture:
    """Resize an image or a mask to a size, by a factor, by one side or to a number of pixels."""
    if resize_type not in WAYS:
        raise BadInput(
            f"`resize_type` is {resize_type!r:.60}.", hint=f"Choose one of {', '.join(WAYS)}.", node=ctx.node, input="resize_type"
        )
    given = {name: _option(ctx, resize_type, name, spec, options) for name, spec in WAYS[resize_type].items()}
    is_mask = input.ndim == 3
    planes = input.unsqueeze(1) if is_mask else input.movedim(-1, 1)
    width, height = _target(resize_type, planes.shape[3], planes.shape[2], given)
    if max(width, height) > MAX_SIDE:
        raise BadInput(f"The result would be {width} x {height}; the longest side is {MAX_SIDE}.", node=ctx.node, input="resize_type")
    planes = resize(planes, width, height, scale_method, given.get("crop", "disabled"))
    return planes.squeeze(1) if is_mask else planes.movedim(1, -1)


def _option(ctx: Context, way: str, name: str, spec: list[Any], options: dict[str, Any]) -> Any:
    value = options.get(f"resize_type.{name}", options.get(name, spec[1]["default"]))
    if not isinstance(value, type(spec[1]["default"]) | int):
        raise BadInput(f"`{name}` is {value!r:.60}.", hint=f"It goes with {way}.", node=ctx.node, input=f"resize_type.{name}")
    return value


def _target(way: str, width: int, height: int, given: dict[str, Any]) -> tuple[int, int]:
    """The new width and height; a side of 0 keeps the aspect."""
    if way == "scale dimensions":
        return _kept(width, height, given["width"], given["height"])
    ((name, value),) = given.items()
    factor = {
        "multiplier": value,
        "longer_size": value / max(width, height),
        "shorter_size": value / min(width, height),
        "width": value / width,
        "height": value / height,
        "megapixels": math.sqrt(value * 1024 * 1024 / (width * height)),
    }[name]
    return max(1, round(width * factor)), max(1, round(height * factor))


def _kept(width: int, height: int, wide: int, high: int) -> tuple[int, int]:
    if not wide and not high:
        return width, height
    return wide or max(1, round(width * high / height)), high or max(1, round(height * wide / width))


@newer("BatchImagesNode", title="Batch Images", category="image/batch")
def batch_images(ctx: Context, *, images: None = growing("IMAGE", prefix="image", least=2), **inputs: Any) -> Image:
    """The connected images as one batch; later ones take the size of the first."""
    wired = list(grown("images", inputs).values())
    if not wired:
        raise BadInput("There is nothing to batch.", hint="Connect at least one image.", node=ctx.node, input="images.image0")
    batch: Image = wired[0]
    for image in wired[1:]:
        batch = concat_images(batch, image)
    return batch


@newer("ImageCompare", title="Compare Images", category="image", output=True, hidden=METADATA)
def image_compare(ctx: Context, *, image_a: Image | None = None, image_b: Image | None = None) -> None:
    """Show two images over each other, without keeping them."""
    for name, image in (("a_images", image_a), ("b_images", image_b)):
        if image is not None:
            ctx.show(name, save_preview(ctx, image))


@newer("ImageCropV2", title="Crop Image", category="image/transform")
def image_crop_v2(ctx: Context, *, image: Image, crop_region: Any = BOX) -> Image:
    """Cut a box out of an image; what lies outside of the image is left out."""
    try:
        x, y, width, height = (int(crop_region[name]) for name in ("x", "y", "width", "height"))
    except (TypeError, KeyError, ValueError):
        hint = 'It looks like {"x": 0, "y": 0, "width": 512, "height": 512}.'
        raise BadInput(f"The box is {crop_region!r:.80}.", hint=hint, node=ctx.node, input="crop_region") from None
    left, top = min(max(0, x), image.shape[2] - 1), min(max(0, y), image.shape[1] - 1)
    return image[:, top : top + max(1, height), left : left + max(1, width)]

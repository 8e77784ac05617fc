"""Inpaint a part of a large picture at the size a model likes, and put it back without a seam."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from backend.base.errors import Problem
from backend.engine.context import Context
from backend.graph.declare import Float, Int, node
from backend.graph.schema import Socket
from backend.imaging import stitch
from nodes.types import MAX_SIDE, Image, Mask

StitchWire = Annotated[Any, Socket("STITCHER")]


class Cropped(NamedTuple):
    stitcher: StitchWire
    cropped_image: Image
    cropped_mask: Mask


@node("InpaintCropRegion", title="Inpaint Crop", category="image/inpaint", module="nodes")
def inpaint_crop(
    ctx: Context,
    *,
    image: Image,
    mask: Mask,
    width: int = Int(512, min=0, max=MAX_SIDE, step=8, tooltip="Of the part handed on; 0 keeps its own size."),
    height: int = Int(512, min=0, max=MAX_SIDE, step=8),
    context: float = Float(1.2, min=1.0, max=10.0, step=0.01, tooltip="How many times the box around the mask is seen."),
    padding: int = Int(16, min=0, max=MAX_SIDE, tooltip="Pixels seen around that box besides."),
    grow_mask: int = Int(0, min=0, max=1024, tooltip="Widen the mask by so many pixels."),
    blur_mask: int = Int(16, min=0, max=512, tooltip="Over how many pixels the part fades into the picture when it is put back."),
) -> Cropped:
    """Cut out the part of a picture around a mask, resized for the model. Inpaint it, then use Inpaint Stitch."""
    try:
        made = stitch.crop(
            image, mask, context=context, padding=padding, grow=grow_mask, blur=blur_mask, width=width, height=height, multiple=8
        )
    except Problem as problem:
        raise problem.at(node=ctx.node) from None
    return Cropped(*made)


@node("InpaintStitchRegion", title="Inpaint Stitch", category="image/inpaint", module="nodes")
def inpaint_stitch(ctx: Context, *, stitcher: StitchWire, inpainted_image: Image) -> Image:
    """Put an inpainted part back where Inpaint Crop took it from; pixels far from the mask stay as they were, bit for bit."""
    return stitch.put_back(stitcher, inpainted_image)

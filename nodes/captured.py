"""Pictures as cameras and films make them."""

from __future__ import annotations

from typing import Annotated

from backend.base.errors import BadInput, Problem
from backend.engine.context import Context
from backend.graph.declare import Bool, Int, Wired, node
from backend.graph.schema import Socket
from backend.imaging.picture import read_picture
from backend.imaging.resize import resize
from backend.media.video import as_film_frames
from nodes.image_files import content_of
from nodes.types import MAX_SIDE, Image

Captured = Annotated[str, Socket("WEBCAM")]


@node("WebcamCapture", title="Webcam Capture", category="image", module="comfy_extras.nodes_webcam", fingerprint=content_of("input"))
def webcam_capture(
    ctx: Context,
    *,
    image: Captured = Wired(),
    width: int = Int(0, min=0, max=MAX_SIDE, step=1),
    height: int = Int(0, min=0, max=MAX_SIDE, step=1),
    capture_on_queue: bool = Bool(True),
) -> Image:
    """The picture that the browser took with the camera; a side of 0 keeps its size."""
    if not isinstance(image, str) or not image:
        raise BadInput("No picture has been taken.", hint="Let the browser use the camera, then run again.", node=ctx.node, input="image")
    try:
        picture, _ = read_picture(ctx.services.folders.resolve(image, "input"))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="image", file=image) from problem.__cause__
    size = (width or picture.shape[2], height or picture.shape[1])
    return resize(picture.movedim(-1, 1), *size, "lanczos").movedim(1, -1) if size != (picture.shape[2], picture.shape[1]) else picture


@node("LTXVPreprocess", category="image", module="comfy_extras.nodes_lt", form="v3", outputs=("output_image",))
def ltxv_preprocess(
    ctx: Context, *, image: Image, img_compression: int = Int(35, min=0, max=100, tooltip="How strongly; 0 leaves the image as it is.")
) -> Image:
    """Make images look like frames of a compressed film, which video models expect of their first frame."""
    return as_film_frames(image, img_compression) if img_compression else image

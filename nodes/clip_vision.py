"""Encoding pictures, for models and adapters that are conditioned on them."""

from __future__ import annotations

from functools import partial

from backend.engine.context import Context
from backend.families import load
from backend.graph.declare import Choice, FileChoice, node
from nodes.loaders import open_named
from nodes.types import ClipVision, ClipVisionOutput, Image

vision_node = partial(node, module="nodes")


@vision_node("CLIPVisionLoader", title="Load CLIP Vision", category="loaders")
def clip_vision_loader(ctx: Context, *, clip_name: str = FileChoice("clip_vision")) -> ClipVision:
    """Load a CLIP image encoder."""
    return open_named(ctx, "clip_name", "clip_vision", clip_name, lambda path: load.load_vision(path, ctx.services))


@vision_node("CLIPVisionEncode", title="CLIP Vision Encode", category="conditioning")
def clip_vision_encode(ctx: Context, *, clip_vision: ClipVision, image: Image, crop: str = Choice(["center", "none"])) -> ClipVisionOutput:
    """Encode a picture; "center" cuts its middle square out, "none" squeezes all of it into one."""
    return clip_vision.encode_image(image, ctx.services.pool, crop == "center")

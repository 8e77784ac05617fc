"""Enlarging and restoring pictures with a model."""

from __future__ import annotations

from typing import Annotated, Any

from backend.base.errors import Problem
from backend.codecs import upscaler
from backend.engine.context import Context
from backend.graph.declare import Combo, node
from backend.graph.schema import Files, Socket
from nodes.types import Image

UpscaleModel = Annotated[Any, Socket("UPSCALE_MODEL")]
MODULE = "comfy_extras.nodes_upscale_model"


@node("UpscaleModelLoader", title="Load Upscale Model", category="loaders", module=MODULE, form="v3")
def upscale_model_loader(ctx: Context, *, model_name: str = Combo(Files("upscale_models"))) -> UpscaleModel:
    """Load a model that enlarges or restores pictures: ESRGAN, SwinIR, DAT, HAT, SPAN and others."""
    try:
        return upscaler.load(ctx.services.folders.find_or_raise("upscale_models", model_name))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="model_name", file=model_name) from problem.__cause__


@node("ImageUpscaleWithModel", title="Upscale Image (using Model)", category="image/upscaling", module=MODULE, form="v3")
def image_upscale_with_model(ctx: Context, *, upscale_model: UpscaleModel, image: Image) -> Image:
    """Enlarge pictures with a model, in tiles as large as memory allows."""
    made: Image = upscale_model.run(image, ctx.services.pool, ctx.progress)
    return made

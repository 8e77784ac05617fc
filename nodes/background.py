"""Foreground from background, by a model that the user places."""

from __future__ import annotations

from typing import Annotated

from backend.encoders.matting.spec import MattingModel, load_matting_model
from backend.engine.context import Context
from backend.graph.declare import FileChoice, node
from backend.graph.schema import Socket
from nodes.loaders import open_named
from nodes.types import Image, Mask

MattingWire = Annotated[MattingModel, Socket("BACKGROUND_REMOVAL")]
KIND = "background_removal"


@node("LoadBackgroundRemovalModel", title="Load Background Removal Model", category="loaders", module="nodes", outputs=("bg_model",))
def load_background_removal(ctx: Context, *, bg_removal_name: str = FileChoice(KIND)) -> MattingWire:
    """Load BiRefNet: place its file into models/background_removal."""
    dtype = ctx.services.device.compute_dtype("vae", ctx.services.settings)
    return open_named(ctx, "bg_removal_name", KIND, bg_removal_name, lambda path: load_matting_model(path, dtype))


@node("RemoveBackground", title="Remove Background", category="image/background removal", module="nodes", outputs=("mask",))
def remove_background(ctx: Context, *, image: Image, bg_removal_model: MattingWire) -> Mask:
    """A mask of what stands before the background, 1 in the foreground, soft at hair and glass."""
    return bg_removal_model.masks(image, ctx.services.pool)

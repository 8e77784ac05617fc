"""Depth maps for steering, by a model that the user places."""

from __future__ import annotations

from typing import Annotated

from backend.encoders.depth.spec import DepthModel, load_depth_model
from backend.engine.context import Context
from backend.graph.declare import Bool, FileChoice, Int, node
from backend.graph.schema import Socket
from nodes.loaders import open_named
from nodes.types import Image

DepthWire = Annotated[DepthModel, Socket("DEPTH_MODEL")]


@node("LoadDepthModel", title="Load Depth Model", category="loaders", module="nodes")
def load_depth(ctx: Context, *, name: str = FileChoice("clip_vision")) -> DepthWire:
    """Load Depth Anything (1 or 2; small, base or large) or DPT of MiDaS 3 (large or hybrid): place its file into models/clip_vision."""
    dtype = ctx.services.device.compute_dtype("vae", ctx.services.settings)
    return open_named(ctx, "name", "clip_vision", name, lambda path: load_depth_model(path, dtype))


@node("DepthMap", title="Depth Map", category="image/preprocessors", module="nodes")
def depth_map(
    ctx: Context,
    *,
    image: Image,
    depth_model: DepthWire,
    resolution: int = Int(0, min=0, max=4096, step=2, tooltip="Of the shorter side as the model sees it; 0 is what it was trained with."),
    near_is_white: bool = Bool(True, tooltip="As ControlNets expect."),
) -> Image:
    """How near each pixel is, from black to white."""
    depth = depth_model.depth(image, ctx.services.pool, resolution)
    return (depth if near_is_white else 1 - depth).unsqueeze(-1).repeat(1, 1, 1, 3)

"""MoGe: points, depth, normals and a mask of pictures.

Published files look at pictures at a level of detail from 0 to 9, with the angle of view at 0 (it is found), several pictures at once,
points put on the camera's rays and masked; they render "depth", "depth_colored", "mask", "normal_opengl" and "normal_directx".
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.geometry.moge_spec import LEVELS, MogeModel, Scene, load_moge
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, FileChoice, Float, Int, node
from backend.graph.schema import Socket
from backend.imaging.colours import between, spectral
from nodes.loaders import open_named
from nodes.types import Image

KIND = "geometry_estimation"
LEAST, MOST = 0.001, 0.99
"""Shares of the pixels that are farther and nearer than what is drawn."""
AXES = {"normal_opengl": (0.5, -0.5, -0.5), "normal_directx": (0.5, 0.5, -0.5)}
"""Red is right; green is up, or down; blue is toward the camera."""
MogeWire = Annotated[MogeModel, Socket("MOGE_MODEL")]
SceneWire = Annotated[Scene, Socket("MOGE_GEOMETRY")]


@node("LoadMoGeModel", title="Load MoGe Model", category="loaders", module="nodes", outputs=("MOGE_MODEL",))
def load_moge_model(ctx: Context, *, model_name: str = FileChoice(KIND)) -> MogeWire:
    """Load MoGe 2: place its file into models/geometry_estimation."""
    dtype = ctx.services.device.compute_dtype("vae", ctx.services.settings)
    return open_named(ctx, "model_name", KIND, model_name, lambda path: load_moge(path, dtype))


@node("MoGeInference", title="MoGe", category="image/geometry", module="nodes", outputs=("moge_geometry",))
def moge_inference(
    ctx: Context,
    *,
    moge_model: MogeWire,
    image: Image,
    resolution_level: int = Int(LEVELS, min=0, max=LEVELS, tooltip="Detail: higher is slower."),
    fov_x_degrees: float = Float(0.0, min=0.0, max=170.0, step=0.1, tooltip="The horizontal angle of view in degrees; 0: it is found."),
    batch_size: int = Int(4, min=1, max=64, tooltip="Pictures seen at once."),
    force_projection: bool = Bool(True, tooltip="Put points on the rays of their pixels."),
    apply_mask: bool = Bool(True, tooltip="What has no place, such as sky, is infinitely far away."),
) -> SceneWire:
    """Where in space what pictures show is; in metres where the model knows."""
    return moge_model.scene(
        image, ctx.services.pool, resolution_level, fov_x_degrees, batch_size, force_projection, apply_mask,
        lambda done: ctx.progress(done, len(image)),
    )  # fmt: skip


@node("MoGeRender", title="MoGe to Image", category="image/geometry", module="nodes", outputs=("IMAGE",))
def moge_render(ctx: Context, *, moge_geometry: SceneWire, output: str = Choice(["depth", "depth_colored", "mask", *AXES])) -> Image:
    """Depth (near is white, or red), the mask, or surface normals as a picture. What has no place is black."""
    scene = moge_geometry
    if output == "mask":
        return scene.mask.float().unsqueeze(-1).repeat(1, 1, 1, 3)
    if output in AXES:
        if scene.normals is None:
            hint = "Load a model with normals, such as moge_2_vitl_normal_fp16.safetensors, or choose depth."
            raise BadInput("This MoGe model knows no normals.", hint=hint, node=ctx.node, input="output")
        return (scene.normals * scene.normals.new_tensor(AXES[output]) + 0.5) * scene.mask[..., None]
    near = torch.stack([_nearness(depth, mask) for depth, mask in zip(scene.depth, scene.mask, strict=True)])
    drawn = spectral(1 - near) if output == "depth_colored" else near.unsqueeze(-1).repeat(1, 1, 1, 3)
    return drawn * scene.mask[..., None]


def _nearness(depth: Tensor, mask: Tensor) -> Tensor:
    near = 1 / depth.clamp(min=1e-6)
    return between(near, near[mask], LEAST, MOST)

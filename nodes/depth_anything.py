"""Depth Anything 3.

Published files load a model with a precision, look at pictures at a resolution of the longer ("upper_bound_resize") or shorter side
("lower_bound_resize"), each on its own ("mono"), and render depth normalised as by version 2 ("v2_style": near is white) or not at all
("raw"), with or without clipping the sky.
"""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.geometry.anything_spec import SKY, AnythingModel, Depths, load_anything
from backend.engine.context import Context
from backend.graph.declare import Choice, FileChoice, Int, node
from backend.graph.schema import Socket
from backend.imaging.colours import between
from nodes.loaders import open_named
from nodes.resize_any import ways
from nodes.types import Image

KIND = "geometry_estimation"
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NORMALIZATIONS = ["v2_style", "min_max", "raw"]
OUTPUTS: dict[str, dict[str, Any]] = {
    "depth": {
        "normalization": ["COMBO", {"default": "v2_style", "options": NORMALIZATIONS, "multiselect": False}],
        "apply_sky_clip": ["BOOLEAN", {"default": False}],
    },
    "sky": {},
    "confidence": {},
}
LEAST, MOST = 0.02, 0.98
"""Shares of the pixels nearer to black and white than these are clipped."""
AnythingWire = Annotated[AnythingModel, Socket("DA3_MODEL")]
DepthsWire = Annotated[Depths, Socket("DA3_GEOMETRY")]


@node("LoadDA3Model", title="Load Depth Anything 3", category="loaders", module="nodes", outputs=("DA3_MODEL",))
def load_da3(ctx: Context, *, model_name: str = FileChoice(KIND), weight_dtype: str = Choice(["default", *DTYPES])) -> AnythingWire:
    """Load Depth Anything 3 (mono, metric, small, base or large): place its file into models/geometry_estimation."""
    dtype = DTYPES.get(weight_dtype) or ctx.services.device.compute_dtype("vae", ctx.services.settings)
    return open_named(ctx, "model_name", KIND, model_name, lambda path: load_anything(path, dtype))


@node("DA3Inference", title="Depth Anything 3", category="image/geometry", module="nodes", outputs=("da3_geometry",))
def da3_inference(
    ctx: Context,
    *,
    da3_model: AnythingWire,
    image: Image,
    resolution: int = Int(504, min=140, max=2520, step=14, tooltip="Of one side of the picture as the model sees it."),
    resize_method: str = Choice(["upper_bound_resize", "lower_bound_resize"], tooltip="Whether that is the longer or the shorter side."),
    mode: str = Choice(["mono"], tooltip="Every picture is looked at on its own."),
) -> DepthsWire:
    """How far away what pictures show is, where there is sky, and how sure the model is."""
    count = 0

    def done() -> None:
        nonlocal count
        count += 1
        ctx.progress(count, len(image))

    return da3_model.depths(image, ctx.services.pool, resolution, resize_method.startswith("upper"), done)


@node("DA3Render", title="Depth Anything 3 to Image", category="image/geometry", module="nodes", outputs=("IMAGE",))
def da3_render(ctx: Context, *, da3_geometry: DepthsWire, output: str = ways(OUTPUTS, "depth"), **options: Any) -> Image:
    """Depth, sky or confidence as a picture."""
    if output == "depth":
        normalization = options.get("output.normalization", "v2_style")
        depth = da3_geometry.clipped() if options.get("output.apply_sky_clip") else da3_geometry.depth
        return _grey(_normalised(ctx, depth, da3_geometry.sky, normalization))
    values = {"sky": da3_geometry.sky, "confidence": da3_geometry.confidence}.get(output)
    if values is None:
        known = [name for name, each in (("sky", da3_geometry.sky), ("confidence", da3_geometry.confidence)) if each is not None]
        hint = f"Choose one of depth, {', '.join(known)}: nets for one picture know the sky, those for several how sure they are."
        raise BadInput(f"This model says nothing of {output!r:.40}.", hint=hint, node=ctx.node, input="output")
    return _grey(values.clamp(0, 1) if output == "sky" else torch.stack([between(each, each, LEAST, MOST) for each in values]))


def _normalised(ctx: Context, depth: Tensor, sky: Tensor | None, how: str) -> Tensor:
    if how == "raw":
        return depth
    if how == "min_max":
        return torch.stack([(each - each.min()) / (each.max() - each.min()).clamp(min=1e-6) for each in depth])
    if how != "v2_style":
        hint = f"Choose one of {', '.join(NORMALIZATIONS)}."
        raise BadInput(f"`normalization` is {how!r:.40}.", hint=hint, node=ctx.node, input="output.normalization")
    nearness = 1 / depth.clamp(min=1e-6)
    found = []
    for i, near in enumerate(nearness):
        is_sky = torch.zeros_like(near, dtype=torch.bool) if sky is None else sky[i] >= SKY
        found.append(between(near, near[~is_sky] if bool((~is_sky).any()) else near, LEAST, MOST))
    return torch.stack(found)


def _grey(values: Tensor) -> Tensor:
    return values.unsqueeze(-1).repeat(1, 1, 1, 3)

"""Prompts for Flux, whose two text encoders may be told different things, and styles."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from backend.adapters.patches.uso import Uso
from backend.base.errors import BadInput, Problem
from backend.engine.context import Context
from backend.graph.declare import Bool, Float, Int, Text, node
from nodes.conditioning import with_values
from nodes.types import Clip, ClipVisionOutput, Conditioning, Model, ModelPatch

flux_node = partial(node, category="advanced/conditioning/flux", module="comfy_extras.nodes_flux", form="v3")


@flux_node("CLIPTextEncodeFlux")
def clip_text_encode_flux(
    ctx: Context,
    *,
    clip: Clip,
    clip_l: str = Text(multiline=True, dynamicPrompts=True),
    t5xxl: str = Text(multiline=True, dynamicPrompts=True),
    guidance: float = Float(3.5, min=0.0, max=100.0, step=0.1),
) -> Conditioning:
    """Encode a prompt for each of Flux's two text encoders, with the guidance scale that the model is told."""
    tokens = {**clip.tokenize(clip_l), "t5xxl": clip.tokenize(t5xxl).get("t5xxl", [])}
    if not (tokens.get("l") and tokens["t5xxl"]):
        raise BadInput(
            f"Flux reads two text encoders, l and t5xxl; this CLIP has {' and '.join(clip.branches)}.",
            hint="Use DualCLIPLoader with type flux.",
            node=ctx.node,
            input="clip",
        )
    return with_values(clip.encoded(tokens, ctx.services.pool).conditioning(), guidance=guidance)


@node("USOStyleReference", category="advanced/model_patches/flux", module="comfy_extras.nodes_model_patch", experimental=True)
def uso_style_reference(ctx: Context, *, model: Model, model_patch: ModelPatch, clip_vision_output: ClipVisionOutput) -> Model:
    """Paint in the style of a picture, which SigLIP has seen."""
    if not isinstance(model_patch, Uso):
        raise BadInput(
            f"{model_patch.title} gives no style.",
            hint="Load the projector of USO with ModelPatchLoader.",
            node=ctx.node,
            input="model_patch",
        )
    try:
        return model_patch.styled(model, clip_vision_output, ctx.services.pool)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__


@node("ChromaRadianceOptions", category="model_patches/chroma_radiance", module="comfy_extras.nodes_chroma_radiance", form="v3")
def chroma_radiance_options(
    ctx: Context,
    *,
    model: Model,
    preserve_wrapper: bool = Bool(True, tooltip="Nothing is wrapped here, so there is nothing to preserve."),
    start_sigma: float = Float(1.0, min=0.0, max=1.0, tooltip="The first noise level at which the options count."),
    end_sigma: float = Float(0.0, min=0.0, max=1.0, tooltip="The last noise level at which the options count."),
    nerf_tile_size: int = Int(-1, min=-1, tooltip="Patches painted at once: -1 as usual, 0 all; fewer take less memory."),
) -> Model:
    """How many patches Chroma Radiance paints at once."""
    if nerf_tile_size < 0:
        return model

    def tile(usual: int, facts: Mapping[str, Any]) -> int:
        return nerf_tile_size if end_sigma <= float(facts["sigmas"][0]) <= start_sigma else usual

    return model.with_tap("nerf_tile", tile)

"""Files that change what a net does inside."""

from __future__ import annotations

from functools import partial

from backend.adapters.patches import Picture, load_patch, steered
from backend.adapters.patches.lllite import LLLite
from backend.base.errors import BadInput, Problem
from backend.engine.context import Context
from backend.graph.declare import FileChoice, Float, node
from nodes.loaders import open_named
from nodes.types import Image, Mask, Model, ModelPatch, Vae

shelf = partial(node, module="comfy_extras.nodes_model_patch", experimental=True)


@shelf("ModelPatchLoader", title="ModelPatchLoader", category="advanced/loaders")
def model_patch_loader(ctx: Context, *, name: str = FileChoice("model_patches")) -> ModelPatch:
    """Load a model patch: a file that steers a net from inside."""
    return open_named(ctx, "name", "model_patches", name, lambda path: load_patch(path, ctx.services))


@shelf("QwenImageDiffsynthControlnet", title="QwenImageDiffsynthControlnet", category="advanced/loaders/qwen")
def qwen_image_diffsynth_controlnet(
    ctx: Context,
    *,
    model: Model,
    model_patch: ModelPatch,
    vae: Vae,
    image: Image,
    strength: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    mask: Mask | None = None,
) -> Model:
    """Steer a model by a picture (lines, depth, or one with a hole to fill), with a patch made for it."""
    if strength == 0:
        return model
    try:
        return steered(model_patch, model, Picture(vae, image, strength, mask))
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__


@node("AnimaLLLiteApply", title="Apply Anima LLLite", category="advanced/model_patches", module="comfy_extras.nodes_anima", form="v3")
def anima_lllite_apply(
    ctx: Context,
    *,
    model: Model,
    model_patch: ModelPatch,
    image: Image,
    mask: Mask | None = None,
    strength: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    start_percent: float = Float(0.0, min=0.0, max=1.0, step=0.001),
    end_percent: float = Float(1.0, min=0.0, max=1.0, step=0.001),
) -> Model:
    """Steer a model by a picture (depth, lines ...) with a ControlNet-LLLite made for it; SDXL's fit models of SDXL."""
    if not isinstance(model_patch, LLLite):
        raise BadInput(
            f"{model_patch.title} is no ControlNet-LLLite.", hint="Use the node for its kind.", node=ctx.node, input="model_patch"
        )
    if strength == 0 or start_percent >= end_percent:
        return model
    if mask is not None:
        ctx.log("The mask has no effect: this ControlNet-LLLite looks at pictures without holes.")
    try:
        return model_patch.steered(model, Picture(None, image, strength, start=start_percent, end=end_percent))
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__

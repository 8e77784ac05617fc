"""Files that change what a net does inside."""

from __future__ import annotations

from functools import partial

from backend.adapters.patches import Picture, load_patch, steered
from backend.base.errors import Problem
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

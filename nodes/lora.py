"""LoRAs as values: by block, merged, made smaller, taken out of models, saved."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from backend.base.errors import BadInput, Problem
from backend.base.paths import next_save
from backend.encoders.joint import published
from backend.engine.context import Context
from backend.families import kin
from backend.graph.declare import Bool, Choice, Combo, FileChoice, Float, Int, SavePrefix, Seed, Text, Wired, node
from backend.weights import lora
from backend.weights.adapters.blocks import read_block_weights
from backend.weights.adapters.combine import METHODS, Recipe, Share, combined
from backend.weights.adapters.extract import Extraction, extracted
from backend.weights.held import Held
from backend.weights.merge import Weights
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.image_files import METADATA, embedded
from nodes.loaders import STRENGTH, ModelAndClip, open_named, with_lora
from nodes.types import Clip, LoraModel, Model

ours = partial(node, category="loaders/lora", module="emulsion")
GIVEN = "(made by a node)"
"""How a LoRA without a file is called: "The LoRA (made by a node) is for ..."."""

METHOD_TIP = (
    "linear is the plain sum; ties drops small values and settles quarrels about signs; dare drops values at random;"
    " magnitude_prune drops small values."
)
FACTORS_TIP = "Merge what the LoRAs do to the weights, or their two factors by themselves as diffusers does; factors need equal ranks."


@ours("LoraLoaderByBlock", title="Load LoRA by Block")
def lora_loader_by_block(
    ctx: Context,
    *,
    model: Model,
    clip: Clip,
    lora_name: str = FileChoice("loras"),
    strength_model: float = Float(1.0, **STRENGTH),
    strength_clip: float = Float(1.0, **STRENGTH),
    block_weights: str = Text(
        "input: 1, middle: 1, output: 1, text: 1",
        multiline=True,
        tooltip="A factor for each part of the UNet (`input 4: 0.5`), for the text encoder (`text: 0`) and for what is not named"
        " (`rest: 0`); or a list of 12, 17, 20 or 26 numbers, the text encoder first.",
    ),
) -> ModelAndClip:
    """Change a model and its text encoder by a LoRA, each block by as much as you say."""
    try:
        blocks = read_block_weights(block_weights)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    return ModelAndClip(*with_lora(ctx, model, clip, lora_name, strength_model, strength_clip, blocks))


@ours("LoadLoraFile", title="Load LoRA File")
def load_lora_file(ctx: Context, *, lora_name: str = FileChoice("loras")) -> LoraModel:
    """A LoRA by itself, to be merged with others, made smaller, or put on a model later."""
    file = open_named(ctx, "lora_name", "loras", lora_name, open_weights)
    return {key: file.tensor(key) for key in file}


@node(
    "LoraModelLoader",
    title="Load LoRA Model",
    category="loaders",
    module="comfy_extras.nodes_train",
    experimental=True,
    output_tooltips=("The changed model.",),
)
def lora_model_loader(
    ctx: Context, *, model: Model = Wired(), lora: LoraModel = Wired(), strength_model: float = Float(1.0, **STRENGTH)
) -> Model:
    """Change a model by a LoRA that another node made."""
    if strength_model == 0:
        return model
    return _patched(ctx, model, lora, strength_model)


def _patched(ctx: Context, model: Model, tensors: LoraModel, strength: float) -> Model:
    try:
        patched, _, report = lora.apply(model, None, Held(tensors, GIVEN), strength, 0.0, kin=kin)
    except Problem as problem:
        raise problem.at(node=ctx.node, input="lora") from problem.__cause__
    ctx.log(f"{report}.")
    assert patched is not None
    return patched


@ours("LoraMerge", title="Merge LoRAs")
def lora_merge(
    ctx: Context,
    *,
    lora1: LoraModel,
    weight1: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    weight2: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    method: str = Choice(list(METHODS), "linear", tooltip=METHOD_TIP),
    rank: int = Int(0, min=0, max=4096, tooltip="Of the result. 0: whatever the sum needs, or the largest of both."),
    density: float = Float(0.5, min=0.01, max=1.0, step=0.01, tooltip="The share of values that ties, dare and magnitude_prune keep."),
    majority: str = Choice(["total", "frequency"], "total", tooltip="How ties settles on a sign: by the sum of values, or their number."),
    apply_to: str = Choice(["weights", "factors"], "weights", tooltip=FACTORS_TIP),
    seed: int = Seed(0),
    lora2: LoraModel | None = None,
) -> LoraModel:
    """Two LoRAs as one; chain it for more. One alone with a rank is made smaller."""
    shares = [Share(Held(lora1, "The first LoRA"), weight1)]
    if lora2 is not None:
        shares.append(Share(Held(lora2, "The second LoRA"), weight2))
    recipe = Recipe(method, rank, density, majority, apply_to == "factors", seed)
    try:
        return combined(shares, recipe, ctx.progress)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__


@node("SaveLoRANode", title="Save LoRA Weights", category="loaders", module="comfy_extras.nodes_train", experimental=True, output=True)
def save_lora(
    ctx: Context,
    *,
    lora: LoraModel = Wired(),
    prefix: str = SavePrefix("loras/ComfyUI_trained_lora"),
    steps: int | None = Wired(forceInput=True, optional=True),
) -> None:
    """Save a LoRA into the output directory."""
    place = next_save(prefix, ctx.services.folders.directory("output"))
    middle = "" if steps is None else f"{steps}_steps_"
    save_safetensors(place.folder / f"{place.name}_{middle}{place.counter:05}_.safetensors", dict(lora))


@node(
    "LoraSave",
    title="Extract and Save Lora",
    category="_for_testing",
    module="comfy_extras.nodes_lora_extract",
    experimental=True,
    output=True,
    hidden=METADATA,
    form="v3",
)
def lora_save(
    ctx: Context,
    *,
    filename_prefix: str = SavePrefix("loras/ComfyUI_extracted_lora", multiline=False),
    rank: int = Int(8, min=1, max=4096, step=1),
    lora_type: str = Combo(["standard", "full_diff"]),
    bias_diff: bool = Bool(True),
    model_diff: Model | None = None,
    text_encoder_diff: Clip | None = None,
) -> None:
    """Turn a difference of two models (Model Merge Subtract) into a LoRA file."""
    if model_diff is None and text_encoder_diff is None:
        text = "There is no difference to make a LoRA of."
        raise BadInput(text, hint="Connect the result of ModelMergeSubtract or CLIPMergeSubtract.", node=ctx.node, input="model_diff")
    device = "cuda" if ctx.services.pool.device.type == "cuda" else "cpu"  # others lack float64
    wish = Extraction(rank, lora_type == "full_diff", bias_diff, device=device)
    tensors: dict[str, torch.Tensor] = {}
    for prefix, handle in _differences(model_diff, text_encoder_diff):
        tensors |= extracted(Weights.of(handle), prefix, wish, ctx.progress)
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    save_safetensors(place.folder / f"{place.name}_{place.counter:05}_.safetensors", tensors, embedded(ctx))


def _differences(model: Model | None, clip: Clip | None) -> list[tuple[str, Any]]:
    """Each handle of one part with what the names of its modules begin with in a file."""
    parts: tuple[Any, ...] = () if clip is None else getattr(clip, "parts", (clip,))
    texts = [(f"text_encoders.{published(part.branch)}.transformer.", part) for part in parts]
    return [*([("diffusion_model.", model)] if model is not None else []), *texts]

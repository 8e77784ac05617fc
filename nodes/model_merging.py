"""Merging models and saving what came of it. A merge is a set of patches: no model is copied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from backend.base.errors import BadInput
from backend.base.paths import next_save
from backend.encoders.joint import published
from backend.engine.context import Context
from backend.families.save import save
from backend.graph.declare import Float, SavePrefix, node
from backend.graph.schema import Input, NodeType
from backend.weights.merge import Weights, by_prefix, mixed
from nodes.image_files import METADATA, embedded
from nodes.types import Clip, Model, Vae

merging = partial(node, category="advanced/model_merging", module="comfy_extras.nodes_model_merging")
RATIO: dict[str, Any] = {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01}
SIDE = "model2"
H = TypeVar("H")
MOST_UNLIKE = 0.05
"""The share of weights that may differ in shape: an inpainting model and its base differ in one, models of two families in many."""


def _ratio() -> float:
    widget: float = Float(1.0, min=0.0, max=1.0, step=0.01)
    return widget


def _multiplier() -> float:
    widget: float = Float(1.0, min=-10.0, max=10.0, step=0.01)
    return widget


def _merged(ctx: Context, first: H, second: Any, shares: Any, input: str = SIDE, skip: tuple[str, ...] = ()) -> H:
    """`first` with `second` merged in. Raises BadInput for models of different kinds, naming both."""
    made = mixed(Weights.of(first), Weights.of(second), shares, lambda name: name.endswith(skip) if skip else False)
    names = [getattr(getattr(side, "family", None), "name", None) for side in (first, second)]
    count = sum(1 for _ in Weights.of(second))
    if len(made.unlike) > count * MOST_UNLIKE:
        one, other = (name or "a text encoder of another size" for name in names)
        text = f"The first model is {one}, the second is {other}: {len(made.unlike)} of {count} weights do not fit."
        raise BadInput(text, hint="Merge models of one kind.", node=ctx.node, input=input)
    if made.unlike:
        ctx.log(f"{len(made.unlike)} weights of the second model do not fit the first and are left out, e.g. {made.unlike[0]}.")
    patched: H = first.patched(*made.patches)  # type: ignore[attr-defined]
    return patched


@merging("ModelMergeSimple")
def model_merge_simple(ctx: Context, *, model1: Model, model2: Model, ratio: float = _ratio()) -> Model:
    """ratio of the first model and the rest of the second."""
    return _merged(ctx, model1, model2, lambda name: (ratio, 1.0 - ratio))


@merging("ModelMergeBlocks")
def model_merge_blocks(
    ctx: Context, *, model1: Model, model2: Model, input: float = _ratio(), middle: float = _ratio(), out: float = _ratio()
) -> Model:
    """A ratio each for the way down, the middle and the way up."""
    return _by_block(ctx, model1, model2, {"input": input, "middle": middle, "out": out})


def _by_block(ctx: Context, model1: Model, model2: Model, ratios: Mapping[str, float]) -> Model:
    ratio = by_prefix(ratios)
    return _merged(ctx, model1, model2, lambda name: (ratio(name), 1.0 - ratio(name)))


@merging("ModelMergeSubtract")
def model_merge_subtract(ctx: Context, *, model1: Model, model2: Model, multiplier: float = _multiplier()) -> Model:
    """What the first model is more than the second, times a number."""
    return _merged(ctx, model1, model2, lambda name: (multiplier, -multiplier))


@merging("ModelMergeAdd")
def model_merge_add(ctx: Context, *, model1: Model, model2: Model) -> Model:
    """The sum of both: a model and a difference."""
    return _merged(ctx, model1, model2, lambda name: (1.0, 1.0))


NOT_MERGED = (".position_ids", ".logit_scale")


@merging("CLIPMergeSimple")
def clip_merge_simple(ctx: Context, *, clip1: Clip, clip2: Clip, ratio: float = _ratio()) -> Clip:
    """ratio of the first text encoder and the rest of the second."""
    return _merged(ctx, clip1, clip2, lambda name: (ratio, 1.0 - ratio), "clip2", NOT_MERGED)


@merging("CLIPMergeSubtract")
def clip_merge_subtract(ctx: Context, *, clip1: Clip, clip2: Clip, multiplier: float = _multiplier()) -> Clip:
    """What the first text encoder is more than the second, times a number."""
    return _merged(ctx, clip1, clip2, lambda name: (multiplier, -multiplier), "clip2", NOT_MERGED)


@merging("CLIPMergeAdd")
def clip_merge_add(ctx: Context, *, clip1: Clip, clip2: Clip) -> Clip:
    """The sum of both: a text encoder and a difference."""
    return _merged(ctx, clip1, clip2, lambda name: (1.0, 1.0), "clip2", NOT_MERGED)


Blocks = tuple[str | tuple[str, int], ...]
UNET: Blocks = ("time_embed.", "label_emb.", ("input_blocks.{}.", 12), ("middle_block.{}.", 3), ("output_blocks.{}.", 12), "out.")
COSMOS: Blocks = ("pos_embedder.", "extra_pos_embedder.", "x_embedder.", "t_embedder.", "affline_norm.")
COSMOS2: Blocks = ("pos_embedder.", "x_embedder.", "t_embedder.", "t_embedding_norm.")
SD3: Blocks = ("pos_embed.", "x_embedder.", "context_embedder.", "y_embedder.", "t_embedder.")
BLOCKS: Mapping[str, Blocks] = {
    "ModelMergeSD1": UNET,
    "ModelMergeSD2": UNET,
    "ModelMergeSDXL": ("time_embed.", "label_emb.", ("input_blocks.{}", 9), ("middle_block.{}", 3), ("output_blocks.{}", 9), "out."),
    "ModelMergeSD3_2B": (*SD3, ("joint_blocks.{}.", 24), "final_layer."),
    "ModelMergeSD35_Large": (*SD3, ("joint_blocks.{}.", 38), "final_layer."),
    "ModelMergeAuraflow": (
        "init_x_linear.", "positional_encoding", "cond_seq_linear.", "register_tokens", "t_embedder.", ("double_layers.{}.", 4),
        ("single_layers.{}.", 32), "modF.", "final_linear.",
    ),
    "ModelMergeFlux1": (
        "img_in.", "time_in.", "guidance_in", "vector_in.", "txt_in.", ("double_blocks.{}.", 19), ("single_blocks.{}.", 38), "final_layer.",
    ),
    "ModelMergeMochiPreview": ("pos_frequencies.", "t_embedder.", "t5_y_embedder.", "t5_yproj.", ("blocks.{}.", 48), "final_layer."),
    "ModelMergeLTXV": (
        "patchify_proj.", "adaln_single.", "caption_projection.", ("transformer_blocks.{}.", 28), "scale_shift_table", "proj_out.",
    ),
    "ModelMergeCosmos7B": (*COSMOS, ("blocks.block{}.", 28), "final_layer."),
    "ModelMergeCosmos14B": (*COSMOS, ("blocks.block{}.", 36), "final_layer."),
    "ModelMergeWAN2_1": (
        "patch_embedding.", "time_embedding.", "time_projection.", "text_embedding.", "img_emb.", ("blocks.{}.", 40), "head.",
    ),
    "ModelMergeCosmosPredict2_2B": (*COSMOS2, ("blocks.{}.", 28), "final_layer."),
    "ModelMergeCosmosPredict2_14B": (*COSMOS2, ("blocks.{}.", 36), "final_layer."),
    "ModelMergeQwenImage": (
        "pos_embeds.", "img_in.", "txt_norm.", "txt_in.", "time_text_embed.", ("transformer_blocks.{}.", 60), "proj_out.",
    ),
}  # fmt: skip
"""Per kind of model, what its weights' names begin with: each has a ratio of its own."""


def _model_specific(id: str, blocks: Blocks) -> Any:
    """A merging node with a ratio for every block; their names are no identifiers, so that no signature can hold them."""

    @node(id, category="advanced/model_merging/model_specific", module="comfy_extras.nodes_model_merging_model_specific")
    def merge(ctx: Context, *, model1: Model, model2: Model, **ratios: float) -> Model:
        """A ratio of the first model for each part of the net."""
        return _by_block(ctx, model1, model2, ratios)

    names = [n for block in blocks for n in ([block] if isinstance(block, str) else [block[0].format(i) for i in range(block[1])])]
    declared: NodeType = merge.node_type  # type: ignore[attr-defined]
    ratios = tuple(Input(name, "FLOAT", dict(RATIO), True) for name in names)
    merge.node_type = replace(declared, inputs=(*declared.inputs, *ratios), any_input=False, any_constant=False)  # type: ignore[attr-defined]
    return merge


for _id, _blocks in BLOCKS.items():
    globals()[_id] = _model_specific(_id, _blocks)


def save_path(ctx: Context, prefix: str) -> Path:
    """The next numbered weights file of that name in the output directory."""
    place = next_save(prefix, ctx.services.folders.directory("output"))
    return place.folder / f"{place.name}_{place.counter:05}_.safetensors"


@merging("CheckpointSave", title="Save Checkpoint", output=True, hidden=METADATA)
def checkpoint_save(ctx: Context, *, model: Model, clip: Clip, vae: Vae, filename_prefix: str = SavePrefix("checkpoints/ComfyUI")) -> None:
    """Save a model with its text encoder and VAE as one file. LoRAs and merges are baked in."""
    save(save_path(ctx, filename_prefix), embedded(ctx), model, clip, vae)


@merging("ModelSave", output=True, hidden=METADATA)
def model_save(ctx: Context, *, model: Model, filename_prefix: str = SavePrefix("diffusion_models/ComfyUI")) -> None:
    """Save a diffusion model without its text encoder and VAE."""
    save(save_path(ctx, filename_prefix), embedded(ctx), model)


@merging("CLIPSave", output=True, hidden=METADATA)
def clip_save(ctx: Context, *, clip: Clip, filename_prefix: str = SavePrefix("clip/ComfyUI")) -> None:
    """Save a text encoder; each of several into a file of its own."""
    parts: tuple[Any, ...] = getattr(clip, "parts", (clip,))
    for part in parts:
        save(save_path(ctx, f"{filename_prefix}_{published(part.branch)}"), embedded(ctx), clip=part, bare=True)


@merging("VAESave", output=True, hidden=METADATA)
def vae_save(ctx: Context, *, vae: Vae, filename_prefix: str = SavePrefix("vae/ComfyUI_vae")) -> None:
    """Save a VAE."""
    save(save_path(ctx, filename_prefix), embedded(ctx), vae=vae, bare=True)

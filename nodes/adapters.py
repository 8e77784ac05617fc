"""Models that place things in boxes, styles of pictures, hypernetworks."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch

from backend.adapters.gligen import load_gligen
from backend.adapters.hypernetwork import load_hypernetwork
from backend.adapters.style import load_style_model
from backend.base.errors import Problem
from backend.engine.context import Context
from backend.graph.declare import Choice, FileChoice, Float, node
from nodes.loaders import open_named
from nodes.types import ClipVisionOutput, Conditioning, Gligen, Model, StyleModel

shelf = partial(node, module="nodes")


@shelf("GLIGENLoader", category="loaders")
def gligen_loader(ctx: Context, *, gligen_name: str = FileChoice("gligen")) -> Gligen:
    """Load a model that places things in boxes."""
    return open_named(ctx, "gligen_name", "gligen", gligen_name, lambda path: load_gligen(path, ctx.services))


@shelf("StyleModelLoader", title="Load Style Model", category="loaders")
def style_model_loader(ctx: Context, *, style_model_name: str = FileChoice("style_models")) -> StyleModel:
    """Load a style model."""
    return open_named(ctx, "style_model_name", "style_models", style_model_name, lambda path: load_style_model(path, ctx.services))


@shelf("StyleModelApply", title="Apply Style Model", category="conditioning/style_model")
def style_model_apply(
    ctx: Context,
    *,
    conditioning: Conditioning,
    style_model: StyleModel,
    clip_vision_output: ClipVisionOutput,
    strength: float = Float(1.0, min=0.0, max=10.0, step=0.001),
    strength_type: str = Choice(["multiply", "attn_bias"]),
) -> Conditioning:
    """Add the style of a picture to a prompt, as further tokens."""
    try:
        tokens = style_model.tokens(clip_vision_output.last_hidden_state, ctx.services.pool)
    except Problem as problem:
        raise problem.at(node=ctx.node) from problem.__cause__
    tokens = tokens.flatten(0, 1)[None]
    if strength_type == "multiply":
        tokens = tokens * strength
    bias = math.log(max(strength, 1e-10)) if strength_type == "attn_bias" else 0.0
    joined = []
    for text, options in conditioning:
        options = dict(options)
        if "attention_mask" in options or bias != 0:
            options |= _masked(text, options, tokens.shape[1], bias)
        joined.append([torch.cat([text, tokens.to(text).expand(text.shape[0], -1, -1)], dim=1), options])
    return joined


def _masked(text: torch.Tensor, options: dict[str, Any], count: int, bias: float) -> dict[str, Any]:
    """The attention's mask with rows and columns for `count` more tokens between text and picture, which are attended to by `bias`."""
    size = options.get("attention_mask_img_shape", (1, 1))
    words, total = text.shape[1], text.shape[1] + size[0] * size[1]
    mask = options.get("attention_mask")
    mask = torch.zeros(text.shape[0], total, total) if mask is None else mask.log() if mask.dtype == torch.bool else mask
    old = torch.tensor([i if i < words else i + count for i in range(total)])
    grown = torch.zeros(text.shape[0], total + count, total + count, dtype=mask.dtype)
    grown[:, old[:, None], old[None]] = mask
    grown[:, old, words : words + count] = bias
    return {"attention_mask": grown, "attention_mask_img_shape": size}


@node("HypernetworkLoader", category="loaders", module="comfy_extras.nodes_hypernetwork")
def hypernetwork_loader(
    ctx: Context,
    *,
    model: Model,
    hypernetwork_name: str = FileChoice("hypernetworks"),
    strength: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
) -> Model:
    """Change what a model's attentions read by a hypernetwork."""
    tap = open_named(
        ctx, "hypernetwork_name", "hypernetworks", hypernetwork_name, lambda path: load_hypernetwork(path, ctx.services, strength)
    )
    return model.with_tap("attn1_patch", tap).with_tap("attn2_patch", tap)

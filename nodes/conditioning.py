"""Conditioning: encoding text, combining, areas, masks, ranges."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Choice, Float, Int, Text, Wired, node
from backend.imaging.masks import batched
from nodes.types import MAX_SIDE, Clip, ClipVisionOutput, Conditioning, Gligen, Mask

conditioning_node = partial(node, module="nodes")


def with_values(conditioning: list[Any], **values: Any) -> list[Any]:
    """A copy in which every entry carries these values; tensors and unknown keys are kept."""
    return [[tokens, {**extra, **values}] for tokens, extra in conditioning]


@conditioning_node(
    "CLIPTextEncode", title="CLIP Text Encode (Prompt)", category="conditioning", output_tooltips=("What the picture should show.",)
)
def clip_text_encode(
    ctx: Context,
    *,
    text: str = Text(multiline=True, dynamicPrompts=True, tooltip="The text to encode."),
    clip: Clip = Wired(tooltip="The text encoder."),
) -> Conditioning:
    """Turn a prompt into conditioning for a diffusion model."""
    if clip is None:
        hint = "Its checkpoint may hold none; load one with Load CLIP."
        raise BadInput("There is no text encoder on this wire.", hint=hint, node=ctx.node, input="clip")
    return clip.conditioning(text, ctx.services.pool)


@conditioning_node("CLIPSetLastLayer", title="CLIP Set Last Layer", category="conditioning")
def clip_set_last_layer(ctx: Context, *, clip: Clip, stop_at_clip_layer: int = Int(-1, min=-24, max=-1, step=1)) -> Clip:
    """Take the text encoder's answer from an earlier layer ("clip skip"); -1 is the last one."""
    return clip.with_layer(stop_at_clip_layer)


@conditioning_node("ConditioningAverage", category="conditioning")
def conditioning_average(
    ctx: Context,
    *,
    conditioning_to: Conditioning,
    conditioning_from: Conditioning,
    conditioning_to_strength: float = Float(1.0, min=0.0, max=1.0, step=0.01),
) -> Conditioning:
    """Mix two conditionings; a strength of 1 is the first. Only the first entry of the second one counts."""
    strength = conditioning_to_strength
    if len(conditioning_from) > 1:
        ctx.log("ConditioningAverage: `conditioning_from` holds several entries; only the first is used.")
    other, other_extra = conditioning_from[0]
    other_pooled = other_extra.get("pooled_output")
    out = []
    for tokens, extra in conditioning_to:
        mixed = {**extra}
        pooled = extra.get("pooled_output", other_pooled)
        if other_pooled is not None:
            mixed["pooled_output"] = other_pooled if pooled is None else pooled * strength + other_pooled * (1 - strength)
        out.append([tokens * strength + _same_length(other, tokens) * (1 - strength), mixed])
    return out


def _same_length(tokens: Tensor, like: Tensor) -> Tensor:
    """Cut or zero-fill the token axis."""
    tokens = tokens[:, : like.shape[1]]
    missing = like.shape[1] - tokens.shape[1]
    return torch.cat([tokens, tokens.new_zeros(tokens.shape[0], missing, tokens.shape[2])], dim=1) if missing else tokens


@conditioning_node("ConditioningCombine", title="Conditioning (Combine)", category="conditioning")
def conditioning_combine(ctx: Context, *, conditioning_1: Conditioning, conditioning_2: Conditioning) -> Conditioning:
    """Use both: each is predicted on its own and the predictions are averaged."""
    return [*conditioning_1, *conditioning_2]


@conditioning_node("ConditioningConcat", title="Conditioning (Concat)", category="conditioning")
def conditioning_concat(ctx: Context, *, conditioning_to: Conditioning, conditioning_from: Conditioning) -> Conditioning:
    """Append the tokens of the second conditioning (its first entry) to those of the first."""
    if len(conditioning_from) > 1:
        ctx.log("ConditioningConcat: `conditioning_from` holds several entries; only the first is used.")
    other = conditioning_from[0][0]
    return [[torch.cat([tokens, other], dim=1), {**extra}] for tokens, extra in conditioning_to]


@conditioning_node("ConditioningSetArea", title="Conditioning (Set Area)", category="conditioning")
def conditioning_set_area(
    ctx: Context,
    *,
    conditioning: Conditioning,
    width: int = Int(64, min=64, max=MAX_SIDE, step=8),
    height: int = Int(64, min=64, max=MAX_SIDE, step=8),
    x: int = Int(0, min=0, max=MAX_SIDE, step=8),
    y: int = Int(0, min=0, max=MAX_SIDE, step=8),
    strength: float = Float(1.0, min=0.0, max=10.0, step=0.01),
) -> Conditioning:
    """Apply only inside a rectangle, in pixels."""
    area = (height // 8, width // 8, y // 8, x // 8)
    return with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@conditioning_node("ConditioningSetAreaPercentage", title="Conditioning (Set Area with Percentage)", category="conditioning")
def conditioning_set_area_percentage(
    ctx: Context,
    *,
    conditioning: Conditioning,
    width: float = Float(1.0, min=0, max=1.0, step=0.01),
    height: float = Float(1.0, min=0, max=1.0, step=0.01),
    x: float = Float(0, min=0, max=1.0, step=0.01),
    y: float = Float(0, min=0, max=1.0, step=0.01),
    strength: float = Float(1.0, min=0.0, max=10.0, step=0.01),
) -> Conditioning:
    """Apply only inside a rectangle given in fractions of the picture."""
    return with_values(conditioning, area=("percentage", height, width, y, x), strength=strength, set_area_to_bounds=False)


@conditioning_node("ConditioningSetAreaStrength", category="conditioning")
def conditioning_set_area_strength(
    ctx: Context, *, conditioning: Conditioning, strength: float = Float(1.0, min=0.0, max=10.0, step=0.01)
) -> Conditioning:
    """How much this conditioning counts against others that cover the same place."""
    return with_values(conditioning, strength=strength)


@conditioning_node("ConditioningSetMask", title="Conditioning (Set Mask)", category="conditioning")
def conditioning_set_mask(
    ctx: Context,
    *,
    conditioning: Conditioning,
    mask: Mask,
    strength: float = Float(1.0, min=0.0, max=10.0, step=0.01),
    set_cond_area: str = Choice(["default", "mask bounds"]),
) -> Conditioning:
    """Apply where the mask is 1; "mask bounds" predicts only the mask's rectangle."""
    return with_values(conditioning, mask=batched(mask), set_area_to_bounds=set_cond_area == "mask bounds", mask_strength=strength)


@conditioning_node("ConditioningZeroOut", category="advanced/conditioning")
def conditioning_zero_out(ctx: Context, *, conditioning: Conditioning) -> Conditioning:
    """Conditioning of the same shape that says nothing: all zeros."""
    out = []
    for tokens, extra in conditioning:
        zeroed = {key: torch.zeros_like(extra[key]) for key in ("pooled_output", "conditioning_lyrics") if extra.get(key) is not None}
        out.append([torch.zeros_like(tokens), {**extra, **zeroed}])
    return out


@conditioning_node("ConditioningSetTimestepRange", category="advanced/conditioning")
def conditioning_set_timestep_range(
    ctx: Context,
    *,
    conditioning: Conditioning,
    start: float = Float(0.0, min=0.0, max=1.0, step=0.001),
    end: float = Float(1.0, min=0.0, max=1.0, step=0.001),
) -> Conditioning:
    """Apply only in a part of the sampling: 0 is its beginning, 1 its end."""
    return with_values(conditioning, start_percent=start, end_percent=end)


@conditioning_node("unCLIPConditioning", category="conditioning")
def unclip_conditioning(
    ctx: Context,
    *,
    conditioning: Conditioning,
    clip_vision_output: ClipVisionOutput,
    strength: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    noise_augmentation: float = Float(0.0, min=0.0, max=1.0, step=0.01),
) -> Conditioning:
    """Add an encoded image for models that are conditioned on images."""
    if strength == 0:
        return conditioning
    entry = {"clip_vision_output": clip_vision_output, "strength": strength, "noise_augmentation": noise_augmentation}
    return [[tokens, {**extra, "unclip_conditioning": [*extra.get("unclip_conditioning", []), entry]}] for tokens, extra in conditioning]


@conditioning_node("GLIGENTextBoxApply", category="conditioning/gligen")
def gligen_text_box_apply(
    ctx: Context,
    *,
    conditioning_to: Conditioning,
    clip: Clip,
    gligen_textbox_model: Gligen,
    text: str = Text(multiline=True, dynamicPrompts=True),
    width: int = Int(64, min=8, max=MAX_SIDE, step=8),
    height: int = Int(64, min=8, max=MAX_SIDE, step=8),
    x: int = Int(0, min=0, max=MAX_SIDE, step=8),
    y: int = Int(0, min=0, max=MAX_SIDE, step=8),
) -> Conditioning:
    """Say what belongs into a rectangle, in pixels."""
    _, pooled = clip.encode(clip.tokenize(text), ctx.services.pool)
    box = (pooled, height // 8, width // 8, y // 8, x // 8)
    made: dict[int, tuple[Any, ...]] = {}

    def grown(earlier: Any) -> tuple[Any, ...]:
        """One value for all entries that had the same boxes, so that they still run together."""
        boxes = earlier[2] if earlier else []
        return made.setdefault(id(earlier), ("position", gligen_textbox_model, [*boxes, box]))

    return [[tokens, {**extra, "gligen": grown(extra.get("gligen"))}] for tokens, extra in conditioning_to]

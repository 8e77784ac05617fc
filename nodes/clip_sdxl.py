"""Prompts for SDXL, which is also told about sizes, crops and how pleasing a picture is to be."""

from __future__ import annotations

from functools import partial
from typing import Any

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Float, Int, Text, node
from nodes.conditioning import with_values
from nodes.types import MAX_SIDE, Clip, Conditioning

sdxl_node = partial(node, category="advanced/conditioning", module="comfy_extras.nodes_clip_sdxl", form="v3")


@sdxl_node("CLIPTextEncodeSDXL")
def clip_text_encode_sdxl(
    ctx: Context,
    *,
    clip: Clip,
    width: int = Int(1024, min=0, max=MAX_SIDE),
    height: int = Int(1024, min=0, max=MAX_SIDE),
    crop_w: int = Int(0, min=0, max=MAX_SIDE),
    crop_h: int = Int(0, min=0, max=MAX_SIDE),
    target_width: int = Int(1024, min=0, max=MAX_SIDE),
    target_height: int = Int(1024, min=0, max=MAX_SIDE),
    text_g: str = Text(multiline=True, dynamicPrompts=True),
    text_l: str = Text(multiline=True, dynamicPrompts=True),
) -> Conditioning:
    """Encode a prompt for each of SDXL's two text encoders, with the size and crop that the picture is to look like it had."""
    tokens = {**clip.tokenize(text_g), "l": clip.tokenize(text_l).get("l", [])}
    if not (tokens.get("l") and tokens.get("g")):
        raise BadInput(
            f"SDXL reads two text encoders, l and g; this CLIP has {' and '.join(clip.tokenize(''))}.",
            hint="Use the CLIP of an SDXL checkpoint, or DualCLIPLoader with type sdxl.",
            node=ctx.node,
            input="clip",
        )
    sizes = {
        "width": width, "height": height, "crop_w": crop_w, "crop_h": crop_h, "target_width": target_width, "target_height": target_height,
    }  # fmt: skip
    return with_values(_encoded(ctx, clip, _evened(tokens, clip.tokenize(""))), **sizes)


@sdxl_node("CLIPTextEncodeSDXLRefiner")
def clip_text_encode_sdxl_refiner(
    ctx: Context,
    *,
    ascore: float = Float(6.0, min=0.0, max=1000.0, step=0.01),
    width: int = Int(1024, min=0, max=MAX_SIDE),
    height: int = Int(1024, min=0, max=MAX_SIDE),
    text: str = Text(multiline=True, dynamicPrompts=True),
    clip: Clip,
) -> Conditioning:
    """Encode a prompt for SDXL's refiner, with how pleasing the picture is to be (aesthetic score)."""
    return with_values(_encoded(ctx, clip, clip.tokenize(text)), aesthetic_score=ascore, width=width, height=height)


def _encoded(ctx: Context, clip: Clip, tokens: dict[str, Any]) -> list[list[Any]]:
    cond, pooled = clip.encode(tokens, ctx.services.pool)
    return [[cond, {"pooled_output": pooled}]]


def _evened(tokens: dict[str, Any], empty: dict[str, Any]) -> dict[str, Any]:
    """The chunks of each branch, the shorter ones filled up with the empty prompt's."""
    most = max(len(chunks) for chunks in tokens.values())
    return {branch: [*chunks, *empty[branch] * (most - len(chunks))] for branch, chunks in tokens.items()}

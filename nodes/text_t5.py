"""Prompts for models that T5 tells what to paint: Stable Diffusion 3, PixArt, and settings of T5's tokens."""

from __future__ import annotations

from functools import partial
from typing import Any

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Combo, Int, Text, node
from nodes.conditioning import with_values
from nodes.types import MAX_SIDE, Clip, Conditioning

text_node = partial(node, category="advanced/conditioning", form="v3")
BRANCHES = ("t5xxl", "pile_t5xl", "t5base", "mt5xl", "umt5xxl")


@text_node("CLIPTextEncodeSD3", module="comfy_extras.nodes_sd3")
def clip_text_encode_sd3(
    ctx: Context,
    *,
    clip: Clip,
    clip_l: str = Text(multiline=True, dynamicPrompts=True),
    clip_g: str = Text(multiline=True, dynamicPrompts=True),
    t5xxl: str = Text(multiline=True, dynamicPrompts=True),
    empty_padding: str = Combo(["none", "empty_prompt"]),
) -> Conditioning:
    """Encode a prompt for each text encoder of Stable Diffusion 3. With `none`, an encoder whose prompt is empty says nothing."""
    asked = {"g": clip_g, "l": clip_l, "t5xxl": t5xxl}
    texts = {branch: text for branch, text in asked.items() if branch in clip.branches}
    if not texts or not set(clip.branches) <= asked.keys():
        raise BadInput(
            f"Stable Diffusion 3 reads the text encoders l, g and t5xxl; this CLIP has {' and '.join(clip.branches)}.",
            hint="Use TripleCLIPLoader, or DualCLIPLoader or Load CLIP with the type sd3.",
            node=ctx.node,
            input="clip",
        )
    tokens: dict[str, Any] = {
        branch: clip.tokenize(text)[branch] if text or empty_padding != "none" else [] for branch, text in texts.items()
    }
    empty, longest = clip.tokenize(""), max((len(tokens[b]) for b in ("l", "g") if b in tokens), default=0)
    for branch in ("l", "g"):
        if branch in tokens:
            tokens[branch] = [*tokens[branch], *empty[branch] * (longest - len(tokens[branch]))]
    return clip.encoded(tokens, ctx.services.pool).conditioning()


@text_node("CLIPTextEncodePixArtAlpha", module="comfy_extras.nodes_pixart")
def clip_text_encode_pixart_alpha(
    ctx: Context,
    *,
    width: int = Int(1024, min=0, max=MAX_SIDE),
    height: int = Int(1024, min=0, max=MAX_SIDE),
    text: str = Text(multiline=True, dynamicPrompts=True),
    clip: Clip,
) -> Conditioning:
    """Encode a prompt for PixArt Alpha, which is also told the size of the picture. PixArt Sigma does not use it."""
    return with_values(clip.conditioning(text, ctx.services.pool), width=width, height=height)


@text_node("T5TokenizerOptions", category="_for_testing/conditioning", module="comfy_extras.nodes_cond", experimental=True)
def t5_tokenizer_options(
    ctx: Context, *, clip: Clip, min_padding: int = Int(0, min=0, max=10000, step=1), min_length: int = Int(0, min=0, max=10000, step=1)
) -> Clip:
    """Fill prompts for T5 up: by so many tokens of padding, and to so many tokens at least."""
    return clip.with_options(
        **{f"{branch}_min_padding": min_padding for branch in BRANCHES}, **{f"{branch}_min_length": min_length for branch in BRANCHES}
    )

"""HiDream: prompts for four text encoders."""

from __future__ import annotations

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Text, node
from nodes.types import Clip, Conditioning

BRANCHES = ("l", "g", "t5xxl", "llama")


@node("CLIPTextEncodeHiDream", category="advanced/conditioning", module="comfy_extras.nodes_hidream", form="v3")
def clip_text_encode_hidream(
    ctx: Context,
    *,
    clip: Clip,
    clip_l: str = Text(multiline=True, dynamicPrompts=True),
    clip_g: str = Text(multiline=True, dynamicPrompts=True),
    t5xxl: str = Text(multiline=True, dynamicPrompts=True),
    llama: str = Text(multiline=True, dynamicPrompts=True),
) -> Conditioning:
    """Encode a prompt for each of HiDream's four text encoders."""
    texts = dict(zip(BRANCHES, (clip_l, clip_g, t5xxl, llama), strict=True))
    if missing := [branch for branch in BRANCHES if branch not in clip.branches]:
        raise BadInput(
            f"HiDream reads four text encoders; this CLIP has no {' and no '.join(missing)}.",
            hint="Use QuadrupleCLIPLoader.",
            node=ctx.node,
            input="clip",
        )
    tokens = {branch: clip.tokenize(text)[branch] for branch, text in texts.items()}
    return clip.encoded(tokens, ctx.services.pool).conditioning()

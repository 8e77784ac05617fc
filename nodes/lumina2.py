"""Lumina 2: prompts behind the instruction that the model was trained with."""

from __future__ import annotations

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.families.lumina2 import PROMPT_START, SYSTEMS
from backend.graph.declare import Combo, Text, Wired, node
from nodes.types import Clip, Conditioning


@node(
    "CLIPTextEncodeLumina2",
    title="CLIP Text Encode for Lumina2",
    category="conditioning",
    module="comfy_extras.nodes_lumina2",
    form="v3",
)
def clip_text_encode_lumina2(
    ctx: Context,
    *,
    system_prompt: str = Combo(tuple(SYSTEMS)),
    user_prompt: str = Text(multiline=True, dynamicPrompts=True),
    clip: Clip = Wired(),
) -> Conditioning:
    """Turn a prompt into conditioning for Lumina 2, behind one of its two instructions."""
    if clip is None:
        raise BadInput("There is no text encoder on this wire.", hint="Load one with Load CLIP.", node=ctx.node, input="clip")
    return clip.conditioning(SYSTEMS[system_prompt] + PROMPT_START + user_prompt, ctx.services.pool)

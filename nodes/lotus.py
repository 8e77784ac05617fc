"""What Lotus reads as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.base.errors import MissingFile, Problem
from backend.encoders.clip.handle import ClipHandle
from backend.engine.context import Context
from backend.families import load
from backend.graph.declare import node
from nodes.types import Conditioning

READS = "h"
"""The text encoder of Stable Diffusion 2, OpenCLIP-H."""
TOKENS = 2
"""Of the empty prompt, which Lotus reads without padding: its start and its end. They see nothing after them, so they are the first two
of the padded prompt."""


@node("LotusConditioning", category="conditioning/lotus", module="comfy_extras.nodes_lotus", form="v3", outputs=("conditioning",))
def lotus_conditioning(ctx: Context) -> Conditioning:
    """The empty prompt as Lotus reads it, encoded by the text encoder of Stable Diffusion 2, which is looked for among the files."""
    for kind in ("text_encoders", "checkpoints"):
        for name in ctx.services.folders.list(kind):
            clip = _encoder(ctx, kind, name)
            if isinstance(clip, ClipHandle) and clip.branch == READS:
                return [[tokens[:, :TOKENS], extra] for tokens, extra in clip.conditioning("", ctx.services.pool)]
    raise MissingFile(
        "Lotus reads the empty prompt of Stable Diffusion 2, and no file here has that model's text encoder.",
        hint="Place OpenCLIP-H (the text encoder of Stable Diffusion 2) into models/text_encoders, or a Stable Diffusion 2 checkpoint.",
        node=ctx.node,
    )


def _encoder(ctx: Context, kind: str, name: str) -> Any:
    """The text encoder in a file; None where there is none. Only headers are read."""
    path: Path = ctx.services.folders.find_or_raise(kind, name)
    try:
        return load.load_text_encoder(path, ctx.services) if kind == "text_encoders" else load.load_checkpoint(path, ctx.services).clip
    except Problem:
        return None  # of another family, or damaged: another file may do

"""unCLIP's prior: from a prompt to the embedding of a picture that it means."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from backend.base.errors import BadInput
from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.vocabulary import END
from backend.encoders.clip_vision.handle import VisionOutput
from backend.engine.context import Context
from backend.graph.declare import Int, Text, node
from nodes.types import Clip, ClipVisionOutput, Conditioning, Latent

prior_node = partial(node, category="conditioning/unclip", module="emulsion")


class Prompted(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


@prior_node("PriorConditioning", title="Prior Conditioning")
def prior_conditioning(
    ctx: Context,
    *,
    clip: Clip,
    text: str = Text("", multiline=True, dynamicPrompts=True),
    negative: str = Text("", multiline=True, dynamicPrompts=True),
    batch_size: int = Int(1, min=1, max=4096),
) -> Prompted:
    """Encode a prompt for an unCLIP prior, and make the empty latent that it denoises: one cell, as wide as an embedding."""
    if not isinstance(clip, ClipHandle):
        raise BadInput("A prior reads one text encoder, and this is a pair.", hint="Load the prior's own.", node=ctx.node, input="clip")
    positive, negated = _encoded(ctx, clip, text), _encoded(ctx, clip, negative)
    width = positive[0][1]["pooled_output"].shape[-1]
    return Prompted(positive, negated, {"samples": torch.zeros(batch_size, width, 1, 1)})


def _encoded(ctx: Context, clip: ClipHandle, text: str) -> Conditioning:
    tokens = clip.tokenize(text)
    chunks = tokens[clip.branch]
    if len(chunks) > 1:
        ctx.log("A prior reads one chunk of 75 tokens; the rest of the prompt is not used.")
    cond, pooled = clip.encode({clip.branch: chunks[:1]}, ctx.services.pool)
    ids = [entry[0] for entry in chunks[0]]
    end = next((i for i, token in enumerate(ids) if isinstance(token, int) and token == END), len(ids) - 1)
    real = torch.zeros(1, len(ids))
    real[:, : end + 1] = 1.0
    return [[cond, {"pooled_output": pooled, "prior_tokens": real}]]


@prior_node("PriorEmbedding", title="Prior Embedding")
def prior_embedding(ctx: Context, *, samples: Latent) -> ClipVisionOutput:
    """Take what a prior sampled for the encoding of a picture, as unCLIP Conditioning wants it."""
    latent = samples["samples"]
    if latent.ndim != 4 or latent.shape[-2:] != (1, 1):
        raise BadInput(
            f"This latent has the shape {list(latent.shape)}; a prior samples one cell.", hint="Sample with a prior.", node=ctx.node,
            input="samples",
        )  # fmt: skip
    embeds = latent.flatten(1).float()
    return VisionOutput(embeds, embeds[:, None], embeds[:, None])

"""How HiDream hears its prompt: both CLIPs' pooled vectors, 128 tokens of T5, and as many of every layer of Llama 3.1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from backend.encoders.joint import JointText
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading, stacked
from backend.encoders.t5.handle import T5Handle
from backend.encoders.text import Encoded, SingleEncoder, TextEncoder
from backend.families.joining import Joiner, by_branch

TOKENS = 128


def mixed(parts: Mapping[str, Encoded]) -> Encoded:
    """T5's tokens, the pooled vectors of L and bigG in a row, and Llama's layers [1, layers, tokens, width] beside."""
    l, g, t5, llama = parts.values()
    assert l.pooled is not None and g.pooled is not None
    return Encoded(t5.cond, torch.cat([l.pooled, g.pooled], dim=-1), {"conditioning_llama3": llama.cond})


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    found = by_branch(encoders)
    if found is None or len(found) != 4 or not {"l", "g"} <= found.keys():
        return None
    t5 = next((part for part in encoders if isinstance(part, T5Handle)), None)
    llama = next((part for part in encoders if isinstance(part, LmHandle) and part.make.name == "Llama 3.1"), None)
    if t5 is None or llama is None:
        return None
    t5 = replace(t5, min_length=TOKENS, masked=True)
    reading = Reading(layers=tuple(range(1, llama.sizes.layers + 1)), mix=stacked, most=TOKENS, least=TOKENS)
    return JointText((found["l"], found["g"], t5, llama.read_as(reading)), mixed)


TEXT = Joiner("HiDream", "CLIP-L, OpenCLIP-bigG, T5-XXL and Llama 3.1 8B", ("hidream",), _join)

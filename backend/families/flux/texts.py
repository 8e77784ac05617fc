"""How Flux's models read their text encoders: T5 says what is in the picture, CLIP-L one vector about all of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backend.encoders.joint import JointText
from backend.encoders.text import Encoded, SingleEncoder, TextEncoder
from backend.families.joining import Joiner, by_branch

LENGTH = 256
"""Tokens of T5 that every prompt has at least."""


def mix(parts: Mapping[str, Encoded]) -> Encoded:
    """T5's tokens and CLIP-L's pooled vector."""
    return Encoded(parts["t5xxl"].cond, parts["l"].pooled)


def _join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    found = by_branch(encoders)
    if found is None or found.keys() != {"l", "t5xxl"}:
        return None
    return JointText((found["l"], found["t5xxl"].with_options(t5xxl_min_length=LENGTH)), mix)


FLUX = Joiner("Flux", "CLIP-L and T5 v1.1 XXL", ("flux",), _join, usual=(frozenset({"l", "t5xxl"}),))

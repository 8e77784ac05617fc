"""How Stable Diffusion's models read CLIP's text encoders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from backend.encoders.clip.handle import ClipHandle
from backend.encoders.clip.spec import pair
from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner, by_branch


def _alone(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    return encoders[0] if len(encoders) == 1 and encoders[0].branch in ("l", "h", "g") else None


def _both(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    """SDXL's pair of L and bigG; its refiner reads bigG alone."""
    found = by_branch(encoders)
    if found is None or found.keys() != {"l", "g"}:
        return None
    return pair(cast(ClipHandle, found["l"]), cast(ClipHandle, found["g"]))


ONE = Joiner(
    "Stable Diffusion",
    "CLIP-L, OpenCLIP-H or OpenCLIP-bigG",
    ("stable_diffusion",),
    _alone,
    usual=(frozenset("l"), frozenset("h"), frozenset("g")),
)
TWO = Joiner("SDXL", "CLIP-L and OpenCLIP-bigG", ("sdxl",), _both, usual=(frozenset("lg"),))

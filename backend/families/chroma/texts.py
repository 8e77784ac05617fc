"""How Chroma reads T5: no padding but what is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from backend.encoders.text import SingleEncoder, TextEncoder
from backend.families.joining import Joiner


def _alone(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
    return encoders[0] if len(encoders) == 1 and encoders[0].branch == "t5xxl" else None


T5 = Joiner("Chroma", "T5 v1.1 XXL", ("chroma",), _alone)

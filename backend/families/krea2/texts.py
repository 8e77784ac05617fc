"""How Krea 2 hears its prompt: Qwen 3 VL (4B) asked what Qwen Image asks, by every third of its layers."""

from __future__ import annotations

from backend.encoders.lm.reading import Reading, side_by_side
from backend.families.joining import Joiner, language_model
from backend.families.qwen_image.texts import DESCRIBE, before_prompt

LAYERS = tuple(range(2, 36, 3))

TEXT = Joiner(
    "Krea 2",
    "Qwen 3 VL 4B",
    ("krea2",),
    language_model("Qwen 3 VL", Reading(DESCRIBE, layers=LAYERS, mix=side_by_side, drop=before_prompt)),
)

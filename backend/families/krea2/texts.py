"""How Krea 2 hears its prompt: Qwen 3 VL (4B) asked to describe, by every third of its layers."""

from __future__ import annotations

from backend.encoders.lm.reading import Reading, side_by_side
from backend.families.joining import Joiner, language_model

CHAT = (
    "<|im_start|>system\nDescribe the image by detailing the color, shape, size, texture, quantity, text, spatial relationships of the"
    " objects and background:<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
)
ASKED = 34
"""Tokens before the prompt."""
LAYERS = tuple(range(2, 36, 3))

TEXT = Joiner("Krea 2", "Qwen 3 VL 4B", ("krea2",), language_model("Qwen 3 VL", Reading(CHAT, layers=LAYERS, mix=side_by_side, drop=ASKED)))

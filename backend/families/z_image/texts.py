"""How Z-Image hears its prompt: Qwen 3 (4B) in a plain chat, by its last layer but one."""

from __future__ import annotations

from backend.encoders.lm.reading import Reading
from backend.families.joining import Joiner, language_model

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"

TEXT = Joiner("Z-Image", "Qwen 3 4B", ("lumina2",), language_model("Qwen 3", Reading(CHAT, layers=(-2,))))

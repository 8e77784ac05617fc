"""How Ideogram 4 hears its prompt: Qwen 3 VL (8B) in a plain chat, by thirteen of its layers, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from backend.encoders.lm.reading import Reading
from backend.families.joining import Joiner, language_model

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
LAYERS = (*range(1, 35, 3), 36)


def channel_by_channel(states: Sequence[Tensor]) -> Tensor:
    """[B, T, width] each -> [B, T, width * layers]: all layers of the first channel, then of the second ..."""
    return torch.stack(list(states), dim=-1).flatten(-2)


TEXT = Joiner(
    "Ideogram 4",
    "Qwen 3 VL 8B",
    ("ideogram4",),
    language_model("Qwen 3 VL", Reading(CHAT, layers=LAYERS, mix=channel_by_channel, finish=False)),
)

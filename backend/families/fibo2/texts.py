"""How Fibo 2 hears its prompt: Qwen 3 VL (4B) in a plain chat, by six bundles of three layers, each normalised."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.encoders.lm.reading import Reading
from backend.families.joining import Joiner, language_model

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"
BUNDLES = ((9, 20, 31), (5, 16, 27), (7, 18, 29), (9, 20, 31), (11, 22, 33), (13, 24, 35))
"""What the gist is made of, then what each block that reads the prompt is told."""
LAYERS = tuple(layer for bundle in BUNDLES for layer in bundle)


def normalised(states: Sequence[Tensor]) -> Tensor:
    """[B, T, width] each -> [B, T, width * layers], every layer's at length one per channel."""
    return torch.cat([F.rms_norm(state, state.shape[-1:], eps=1e-6) for state in states], dim=-1)


TEXT = Joiner("Fibo 2", "Qwen 3 VL 4B", ("fibo2",), language_model("Qwen 3 VL", Reading(CHAT, layers=LAYERS, mix=normalised)))

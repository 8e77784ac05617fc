"""Positions in time as sines and cosines, and attention."""

from __future__ import annotations

from typing import Any

import torch

from comfy.ldm.flux.math import apply_rope
from comfy.ldm.modules.attention import optimized_attention

__all__ = ["apply_rope", "optimized_attention", "sinusoidal_embedding_1d"]


def sinusoidal_embedding_1d(dim: int, position: Any) -> Any:
    """position [n] -> [n, dim], cosines first."""
    half = dim // 2
    angles = position.to(torch.float32)[:, None] * 10000 ** -(torch.arange(half, device=position.device, dtype=torch.float32) / half)
    return torch.cat([angles.cos(), angles.sin()], 1)

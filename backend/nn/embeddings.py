"""Sinusoidal embeddings of scalars such as the diffusion timestep."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def timestep_embedding(t: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Embed scalars `t` [B] as [B, width] in float32: cosines in the first half, sines in the second.

    Frequencies fall geometrically from 1 to 1/max_period (Ho et al. 2020, after Vaswani et al. 2017). An odd width ends in a zero.
    """
    half = width // 2
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * (-math.log(max_period) / half))
    angles = t.float()[:, None] * frequencies[None]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return torch.nn.functional.pad(embedding, (0, width - 2 * half))

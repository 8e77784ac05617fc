"""Noise on a condition: models that are shown a picture can be told to trust it less (Ho et al. 2021, arXiv:2106.15282, section 4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from backend.families.sd.conditions import Cond

OFFSET = -10
"""From the sampling's seed to the condition's, as in the ecosystem, so that both noises differ."""


def seed_of(cond: Cond) -> int:
    """The seed of the noise on a condition."""
    return (int(cond.get("seed", 0)) + OFFSET) % (1 << 64)


def noised(clean: Tensor, alphas_cumprod: Tensor, level: int, seed: int) -> Tensor:
    """sqrt(a) x + sqrt(1 - a) eps with a = alphas_cumprod[level], on the CPU in float32."""
    drawn = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    a = float(alphas_cumprod[level])
    return clean.float().cpu() * math.sqrt(a) + drawn * math.sqrt(1 - a)

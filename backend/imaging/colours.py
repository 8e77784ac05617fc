"""Numbers as colours."""

from __future__ import annotations

import torch
from torch import Tensor

SPECTRAL = (
    (158, 1, 66), (213, 62, 79), (244, 109, 67), (253, 174, 97), (254, 224, 139), (255, 255, 191), (230, 245, 152), (171, 221, 164),
    (102, 194, 165), (50, 136, 189), (94, 79, 162),
)  # fmt: skip
"""ColorBrewer's Spectral, from low to high."""


def spectral(values: Tensor) -> Tensor:
    """[...] in 0..1 -> [..., 3] in 0..1, from red over yellow to blue."""
    table = torch.tensor(SPECTRAL, dtype=torch.float32, device=values.device) / 255
    at = values.clamp(0, 1) * (len(SPECTRAL) - 1)
    low = at.floor().long().clamp(max=len(SPECTRAL) - 2)
    return torch.lerp(table[low], table[low + 1], (at - low).unsqueeze(-1))


def between(values: Tensor, among: Tensor, least: float, most: float) -> Tensor:
    """Values so that what lies between two shares (0..1) of `among`, sorted, comes to lie in 0..1; the rest is clipped."""
    if not len(among):
        return torch.zeros_like(values)
    ordered = among.flatten().sort().values
    low, high = (ordered[round(share * (len(ordered) - 1))] for share in (least, most))
    return ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)

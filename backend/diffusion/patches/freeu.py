"""FreeU (Si et al. 2023, arXiv:2309.11497): stronger backbone, weaker low frequencies of the skips, on the way up of a UNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.guided import fourier_scaled


def freeu(model: ModelHandle, b1: float, b2: float, s1: float, s2: float, version: int = 2) -> ModelHandle:
    """Scales b1, s1 where the map is four times as wide as the first layer, b2, s2 where twice. Raises BadInput for other nets."""
    widths = getattr(model.sizes, "channels", None)
    if not widths:
        raise BadInput(f"FreeU changes UNets; {model.family.name} is none.", hint="Remove FreeU from this graph.", input="model")
    scales = {widths[0] * 4: (b1, s1), widths[0] * 2: (b2, s2)}

    def tap(h: Tensor, skip: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        found = scales.get(h.shape[1])
        if found is None:
            return h, skip
        backbone, low = found
        factor: Tensor | float = backbone
        if version == 2:
            factor = (backbone - 1) * structure(h) + 1
        half = h.shape[1] // 2
        h = torch.cat([h[:, :half] * factor, h[:, half:]], 1)
        return h, fourier_scaled(skip, low, 1.0, 1)

    return model.with_tap("output_block_patch", tap)


def structure(h: Tensor) -> Tensor:
    """The mean over channels of h [B, C, H, W], stretched to 0..1 for each image: [B, 1, H, W]."""
    mean = h.mean(1, keepdim=True)
    low, high = mean.amin((2, 3), keepdim=True), mean.amax((2, 3), keepdim=True)
    return (mean - low) / (high - low)

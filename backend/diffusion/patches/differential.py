"""Differential diffusion (Levin & Fried 2023, arXiv:2306.00950): a grey mask says how early each place is let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle


def differential(model: ModelHandle, strength: float = 1.0) -> ModelHandle:
    """Places are denoised once their mask value exceeds the share of the schedule that is left. Below 1, `strength` mixes with the mask
    as it is."""

    def tap(sigma: Tensor, mask: Tensor, run: Mapping[str, Any]) -> Tensor:
        noise, sigmas = run["model"].noise, run["sigmas"]
        last = max(noise.sigma_min, float(sigmas[-1]))
        first, end, now = (float(noise.timestep(torch.tensor(float(s)))) for s in (sigmas[0], last, sigma[0]))
        open_now = (mask >= (now - end) / (first - end) if first != end else mask >= 0).to(mask)
        return open_now if strength >= 1 else strength * open_now + (1 - strength) * mask

    return model.with_tap("denoise_mask", tap)

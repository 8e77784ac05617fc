"""Conditioning done slowly and plainly, cell by cell: what the batched code must agree with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle


def x0_of(model: ModelHandle, net: Any, x: Tensor, sigma: float, context: Tensor) -> Tensor:
    """One prediction of one entry, one image at a time."""
    out = []
    for row in x:
        s = torch.tensor([sigma])
        t = model.noise.timestep(s).float()
        output = net(model.noise.prediction.net_input(row[None], s), t, context[:1])
        out.append(model.noise.prediction.denoised(row[None], output, s))
    return torch.cat(out)


def weight_of(options: dict[str, Any], size: int, start: int, whole: int, i: int) -> float:
    """The feathering factor of cell i (counted from the area's start) along one side."""
    rim, factor = min(8, size // 4), 1.0
    if start != 0 and i < rim:
        factor *= (i + 1) / rim
    if start + size < whole and size - 1 - i < rim:
        factor *= (size - i) / rim
    return factor


def predict(model: ModelHandle, net: Any, x: Tensor, sigma: float, entries: list[tuple[Tensor, dict[str, Any]]]) -> Tensor:
    """The weighted mean of all entries' predictions. Entries have "area" (h, w, y, x) or "mask" [H, W] of the latent's size."""
    height, width = x.shape[2:]
    total, count = torch.zeros_like(x), torch.zeros(height, width)
    for context, options in entries:
        h, w, top, left = options.get("area", (height, width, 0, 0))
        part = x[:, :, top : top + h, left : left + w]
        x0 = x0_of(model, net, part, sigma, context)
        for i in range(h):
            for j in range(w):
                weight = options.get("strength", 1.0)
                if "mask" in options:
                    weight *= float(options["mask"][top + i, left + j]) * options.get("mask_strength", 1.0)
                elif "area" in options:
                    weight *= weight_of(options, h, top, height, i) * weight_of(options, w, left, width, j)
                total[:, :, top + i, left + j] += weight * x0[:, :, i, j]
                count[top + i, left + j] += weight
    return total / count.clamp(min=1e-37)

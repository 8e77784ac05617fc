"""Embeddings and initialisation."""

from __future__ import annotations

from typing import Any

import torch

from backend.nn.embeddings import timestep_embedding as _embedding


def timestep_embedding(timesteps: Any, dim: int, max_period: int = 10000, repeat_only: bool = False) -> Any:
    return _embedding(timesteps, dim)


def zero_module(module: Any) -> Any:
    for parameter in module.parameters():
        torch.nn.init.zeros_(parameter)
    return module


def conv_nd(dims: int, *args: Any, **kwargs: Any) -> Any:
    return {1: torch.nn.Conv1d, 2: torch.nn.Conv2d, 3: torch.nn.Conv3d}[dims](*args, **kwargs)


def checkpoint(func: Any, inputs: Any, params: Any, flag: bool) -> Any:
    return func(*inputs)


class AlphaBlender(torch.nn.Module):
    """Mixes two inputs by a learned or fixed factor."""

    def __init__(self, alpha: float, merge_strategy: str = "learned_with_images", rearrange_pattern: str = "") -> None:
        super().__init__()
        self.merge_strategy = merge_strategy
        self.mix_factor = torch.nn.Parameter(torch.tensor([alpha]))

    def get_alpha(self, image_only_indicator: Any, device: Any) -> Any:
        mixed = self.mix_factor if self.merge_strategy == "fixed" else torch.sigmoid(self.mix_factor)
        return mixed.to(device)

    def forward(self, x_spatial: Any, x_temporal: Any, image_only_indicator: Any = None) -> Any:
        alpha = self.get_alpha(image_only_indicator, x_spatial.device).to(x_spatial.dtype)
        return alpha * x_spatial + (1.0 - alpha) * x_temporal

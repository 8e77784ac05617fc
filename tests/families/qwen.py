"""Tiny random twins of Qwen Image's nets."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import QwenImageTransformer2DModel
from torch import Tensor

from backend.weights.save import save_safetensors

TEXT = 24
SMALL = {
    "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": TEXT, "axes_dims_rope": (4, 14, 14),
}  # fmt: skip


def net(**config: Any) -> QwenImageTransformer2DModel:
    torch.manual_seed(11)
    made = QwenImageTransformer2DModel(**{**SMALL, **config}).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.uniform_(0.5, 1.5)
    return made


def single(state: Mapping[str, Tensor], path: Path, prefix: str = "model.diffusion_model.", **more: Tensor) -> Path:
    """A single file as published."""
    save_safetensors(path, {**{prefix + key: value for key, value in state.items()}, **more})
    return path


def packed(x: Tensor) -> Tensor:
    """[B, C, T, H, W] as diffusers packs latents."""
    b, c, t, h, w = x.shape
    return x.view(b, c, t, h // 2, 2, w // 2, 2).permute(0, 2, 3, 5, 1, 4, 6).reshape(b, -1, c * 4)

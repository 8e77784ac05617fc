"""Flux's layers under their published names, to be tested for, built anew and subclassed. Weights load under their published names."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn.functional import silu

from backend.families.flux import blocks
from backend.nn.embeddings import timestep_embedding as embedding
from comfy.ldm.flux.math import rope
from comfy.ldm.modules.attention import Kin


def timestep_embedding(t: Any, dim: int, max_period: int = 10000, time_factor: float = 1000.0) -> Any:
    """t [B] in 0..1 -> [B, dim], cosines first."""
    return embedding(t * time_factor, dim, max_period)


def _turn(pe: Any) -> Any:
    """Rotation matrices [B, 1, T, d / 2, 2, 2] as cosines and sines."""
    return pe[..., 0, 0], pe[..., 1, 0]


class EmbedND(torch.nn.Module):
    """Places [B, T, axes] -> rotation matrices [B, 1, T, sum(axes_dim) / 2, 2, 2]."""

    def __init__(self, dim: int, theta: int, axes_dim: Any) -> None:
        super().__init__()
        self.dim, self.theta, self.axes_dim = dim, theta, axes_dim

    def forward(self, ids: Any) -> Any:
        return torch.cat([rope(ids[..., i], width, self.theta) for i, width in enumerate(self.axes_dim)], dim=-3).unsqueeze(1)


class MLPEmbedder(blocks.Embedder, metaclass=Kin):
    OURS = blocks.Embedder

    def __init__(self, in_dim: int, hidden_dim: int, dtype: Any = None, device: Any = None, operations: Any = None) -> None:
        super().__init__(in_dim, hidden_dim)
        self.to(device=device, dtype=dtype)


class DoubleStreamBlock(blocks.DoubleBlock, metaclass=Kin):
    OURS = blocks.DoubleBlock

    def __init__(
        self, hidden_size: int, num_heads: int, mlp_ratio: float, qkv_bias: bool = False, flipped_img_txt: bool = False, dtype: Any = None,
        device: Any = None, operations: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(blocks.BlockSizes(hidden_size, num_heads, int(hidden_size * mlp_ratio)))
        if not qkv_bias:
            self.img_attn.qkv.bias = self.txt_attn.qkv.bias = None
        self.num_heads, self.hidden_size = num_heads, hidden_size
        self.to(device=device, dtype=dtype)

    def forward(self, img: Any, txt: Any, vec: Any, pe: Any, attn_mask: Any = None, **kwargs: Any) -> tuple[Any, Any]:
        """Picture and prompt after the block; `vec` [B, width] is the embedded time."""
        told = self.img_mod(silu(vec)), self.txt_mod(silu(vec))
        return super().forward(img, txt, told, _turn(pe), attn_mask)


class SingleStreamBlock(blocks.SingleBlock, metaclass=Kin):
    OURS = blocks.SingleBlock

    def __init__(
        self, hidden_size: int, num_heads: int, mlp_ratio: float = 4.0, qk_scale: float | None = None, dtype: Any = None, device: Any = None,
        operations: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(blocks.BlockSizes(hidden_size, num_heads, int(hidden_size * mlp_ratio)))
        self.num_heads, self.hidden_dim = num_heads, hidden_size
        self.scale = qk_scale or 1 / math.sqrt(hidden_size // num_heads)
        self.to(device=device, dtype=dtype)

    def forward(self, x: Any, vec: Any, pe: Any, attn_mask: Any = None, **kwargs: Any) -> Any:
        return super().forward(x, self.modulation(silu(vec)), _turn(pe), attn_mask)


class LastLayer(blocks.FinalLayer, metaclass=Kin):
    OURS = blocks.FinalLayer

    def __init__(
        self, hidden_size: int, patch_size: int, out_channels: int, dtype: Any = None, device: Any = None, operations: Any = None
    ) -> None:
        super().__init__(hidden_size, patch_size * patch_size * out_channels)
        self.to(device=device, dtype=dtype)

    def forward(self, x: Any, vec: Any, **kwargs: Any) -> Any:
        return super().forward(x, self.adaLN_modulation[1](silu(vec))[:, None].chunk(2, dim=-1))

"""Rotary positions of transformers on pictures (Su et al. 2021, arXiv:2104.09864), and attention with them."""

from __future__ import annotations

from typing import Any

import torch

from comfy.ldm.modules.attention import optimized_attention

__all__ = ["apply_rope", "apply_rope1", "attention", "optimized_attention", "rope"]


def rope(pos: Any, dim: int, theta: int) -> Any:
    """Rotations [..., n, dim / 2, 2, 2] of positions [..., n]; pair i turns by pos / theta^(2 i / dim)."""
    speeds = theta ** -(torch.arange(0, dim, 2, dtype=torch.float64, device=pos.device) / dim)
    angles = pos.to(torch.float64)[..., None] * speeds
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, -sin, sin, cos], -1).unflatten(-1, (2, 2)).float()


def apply_rope1(x: Any, freqs_cis: Any) -> Any:
    """x [..., n, dim], its neighbouring pairs turned."""
    pairs = x.to(freqs_cis.dtype).unflatten(-1, (-1, 2))[..., None, :]
    return (freqs_cis * pairs).sum(-1).flatten(-2).to(x.dtype)


def apply_rope(xq: Any, xk: Any, freqs_cis: Any) -> tuple[Any, Any]:
    return apply_rope1(xq, freqs_cis), apply_rope1(xk, freqs_cis)


def attention(q: Any, k: Any, v: Any, pe: Any, mask: Any = None, transformer_options: Any = None) -> Any:
    """[B, heads, n, d] each -> [B, n, heads * d]."""
    if pe is not None:
        q, k = apply_rope(q, k, pe)
    return optimized_attention(q, k, v, q.shape[1], mask=mask, skip_reshape=True)

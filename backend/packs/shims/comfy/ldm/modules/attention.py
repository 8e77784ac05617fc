"""Attention, and the transformer blocks of our nets under their published names."""

from __future__ import annotations

from typing import Any

from backend.nn.attention import by_head
from backend.nn.blocks import GEGLU, FeedForward, SpatialTransformer
from backend.nn.blocks import Attention as CrossAttention
from backend.nn.blocks import TransformerBlock as BasicTransformerBlock

__all__ = ["GEGLU", "BasicTransformerBlock", "CrossAttention", "FeedForward", "SpatialTransformer"]


def optimized_attention(
    q: Any, k: Any, v: Any, heads: int, mask: Any = None, attn_precision: Any = None, skip_reshape: bool = False, skip_output_reshape: bool = False,
    **kwargs: Any,
) -> Any:  # fmt: skip
    """[B, T, heads * d] each (or [B, heads, T, d] with `skip_reshape`) -> [B, T, heads * d]."""
    if not skip_reshape:
        q, k, v = (x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (q, k, v))
    if mask is not None:
        mask = mask[None] if mask.ndim == 2 else mask
        mask = mask[:, None] if mask.ndim == 3 else mask
    out = by_head(q, k, v, mask)
    return out if skip_output_reshape else out.transpose(1, 2).reshape(out.shape[0], out.shape[2], -1)


attention_basic = attention_split = attention_sub_quad = attention_pytorch = attention_xformers = optimized_attention
attention_sage = attention_flash = optimized_attention_masked = optimized_attention


def optimized_attention_for_device(device: Any, mask: bool = False, small_input: bool = False) -> Any:
    return optimized_attention


def default(val: Any, d: Any) -> Any:
    return val if val is not None else d


def exists(val: Any) -> bool:
    return val is not None


def get_attn_precision(attn_precision: Any, current_dtype: Any = None) -> Any:
    return attn_precision

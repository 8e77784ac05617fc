"""Attention, and the transformer blocks of our nets under their published names."""

from __future__ import annotations

from typing import Any

import torch

import comfy.ops
from backend.nn import blocks
from backend.nn.attention import by_head
from backend.nn.blocks import SpatialTransformer
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


class Kin(type):
    """Of a class that packs build and subclass: parts of our nets that do the same count as its instances."""

    def __instancecheck__(cls, thing: Any) -> bool:
        return super().__instancecheck__(thing) or isinstance(thing, cls.__dict__.get("OURS", ()))


class CrossAttention(torch.nn.Module, metaclass=Kin):
    """Attention with its projections: x [B, T, query_dim] looks at context [B, S, context_dim], or at itself."""

    OURS = blocks.Attention

    def __init__(
        self, query_dim: int, context_dim: int | None = None, heads: int = 8, dim_head: int = 64, dropout: float = 0.0,
        attn_precision: Any = None, dtype: Any = None, device: Any = None, operations: Any = comfy.ops.disable_weight_init,
    ) -> None:  # fmt: skip
        super().__init__()
        inner, context_dim, made = heads * dim_head, default(context_dim, query_dim), {"dtype": dtype, "device": device}
        self.heads, self.dim_head, self.attn_precision = heads, dim_head, attn_precision
        self.to_q = operations.Linear(query_dim, inner, bias=False, **made)
        self.to_k = operations.Linear(context_dim, inner, bias=False, **made)
        self.to_v = operations.Linear(context_dim, inner, bias=False, **made)
        self.to_out = torch.nn.Sequential(operations.Linear(inner, query_dim, **made), torch.nn.Dropout(dropout))

    def forward(self, x: Any, context: Any = None, value: Any = None, mask: Any = None, transformer_options: Any = None) -> Any:
        context = default(context, x)
        out = optimized_attention(self.to_q(x), self.to_k(context), self.to_v(default(value, context)), self.heads, mask)
        return self.to_out(out)


class GEGLU(torch.nn.Module, metaclass=Kin):
    """Linear layer gated by GELU (Shazeer 2020)."""

    OURS = blocks.GEGLU

    def __init__(
        self, dim_in: int, dim_out: int, dtype: Any = None, device: Any = None, operations: Any = comfy.ops.disable_weight_init
    ) -> None:
        super().__init__()
        self.proj = operations.Linear(dim_in, dim_out * 2, dtype=dtype, device=device)

    def forward(self, x: Any) -> Any:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * torch.nn.functional.gelu(gate)


class FeedForward(torch.nn.Module, metaclass=Kin):
    """dim -> mult * dim -> dim_out with GELU, gated or not."""

    OURS = blocks.FeedForward

    def __init__(
        self, dim: int, dim_out: int | None = None, mult: int = 4, glu: bool = False, dropout: float = 0.0, dtype: Any = None,
        device: Any = None, operations: Any = comfy.ops.disable_weight_init,
    ) -> None:  # fmt: skip
        super().__init__()
        inner, made = int(dim * mult), {"dtype": dtype, "device": device}
        first = GEGLU(dim, inner, operations=operations, **made) if glu else torch.nn.Sequential(
            operations.Linear(dim, inner, **made), torch.nn.GELU()
        )  # fmt: skip
        self.net = torch.nn.Sequential(first, torch.nn.Dropout(dropout), operations.Linear(inner, default(dim_out, dim), **made))

    def forward(self, x: Any) -> Any:
        return self.net(x)


def default(val: Any, d: Any) -> Any:
    return val if val is not None else d


def exists(val: Any) -> bool:
    return val is not None


def get_attn_precision(attn_precision: Any, current_dtype: Any = None) -> Any:
    return attn_precision

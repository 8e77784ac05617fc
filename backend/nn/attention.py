"""Scaled dot-product attention over token sequences."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v per head (Vaswani et al. 2017).

    q [B, T, heads * d], k and v [B, S, heads * d] -> [B, T, heads * d]. `mask` broadcasts to [B, heads, T, S]: bool (True takes part)
    or additive.
    """
    b, t, width = q.shape
    qh, kh, vh = (x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (q, k, v))
    out = F.scaled_dot_product_attention(qh, kh, vh, attn_mask=mask)
    return out.transpose(1, 2).reshape(b, t, width)

"""Scaled dot-product attention over token sequences, by the kernel that is fastest for the device, type and shape at hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.nn import products
from backend.nn.backends import Backends


@dataclass(slots=True)
class Preference:
    """What the flags ask for; set once, by the process's composition root."""

    kernel: str = ""
    """"fused": always torch's kernel. "products": two matrix products wherever that is possible. "": what was measured to be faster."""
    upcast: bool = False
    """Compute in float32 whatever the type of q, k and v."""
    measured: products.Measured | None = None
    """Where matrix products are faster, as measured on this CPU; None: by the rule of those that are known."""
    backends: Backends | None = None
    """Chooses among torch's kernels on a GPU."""


PREFERENCE = Preference()


@contextmanager
def preferring(kernel: str) -> Iterator[None]:
    """Within it attention uses this kernel (see `Preference.kernel`), whatever the flags say. Not for several threads at once."""
    before, PREFERENCE.kernel = PREFERENCE.kernel, kernel
    try:
        yield
    finally:
        PREFERENCE.kernel = before


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / sqrt(d)) v per head (Vaswani et al. 2017).

    q [B, T, heads * d], k and v [B, S, heads * d] -> [B, T, heads * d]. `mask` broadcasts to [B, heads, T, S]: bool (True takes part)
    or additive.
    """
    b, t, width = q.shape
    qh, kh, vh = (x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2) for x in (q, k, v))
    return by_head(qh, kh, vh, mask).transpose(1, 2).reshape(b, t, width)


def by_head(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """As `attention`, for q [B, H, T, d], k and v [B, H, S, d] -> [B, H, T, d]."""
    if PREFERENCE.upcast and q.itemsize < 4:
        return by_head(q.float(), k.float(), v.float(), mask.float() if mask is not None and mask.is_floating_point() else mask).to(q.dtype)
    kernel = PREFERENCE.kernel
    if mask is None and kernel != "fused" and products.suits(q, k, kernel == "products", PREFERENCE.measured):
        out = products.attend(q, k, v)
        if out is not None:
            return out
    backends = PREFERENCE.backends
    if backends is None or kernel or q.device.type != backends.device or q.requires_grad or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return backends.attend(q, k, v, mask)

"""Attention as two matrix products, a piece of the queries at a time, so that the scores of a piece stay in the cache.

On CPUs that multiply bfloat16 in hardware this is faster than torch's fused kernel, which is bound by its exponentials, by 1.2 to 2
times from some hundred queries on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

_FEWEST_KEYS, _FEWEST_QUERIES, _FEWEST_SCORES = 64, 256, 1 << 16  # with fewer the fused kernel is as fast
_PIECE = 1 << 20  # scores computed at once: 2 MB, which stay in the caches
_LOG2_E = math.log2(math.e)  # powers of two take a sixth less time than powers of e
_SAMPLE = 16  # one key in so many is looked at to guess a query's largest score
_PAIR = 2  # values that are multiplied at once: rows of q and k that are a multiple of it cost what they hold
_ALIGN = 16  # columns of v; other numbers of them slow the product down by a third,
_FILLED, _REST = 32, 4  # but where d fills whole blocks, a remainder of four costs less than sixteen more

Measured = Mapping[tuple[torch.dtype, str, str], bool]
"""Whether this is the faster way, by type, width of heads and lengths (see `like`)."""


def suits(q: Tensor, k: Tensor, always: bool = False, measured: Measured | None = None) -> bool:
    """Whether to use this for q [B, H, T, d] and k [B, H, S, d]. `always`: wherever it can be used. Without measures by the rule of the
    CPUs that are known: in bfloat16, unless the shapes are small."""
    if q.requires_grad or k.requires_grad or not q.is_floating_point():
        return False
    if always:
        return True
    t, s = q.shape[2], k.shape[2]
    if q.device.type != "cpu" or s < _FEWEST_KEYS or t < _FEWEST_QUERIES or t * s < _FEWEST_SCORES:
        return False
    return q.dtype == torch.bfloat16 if measured is None else measured.get((q.dtype, *like(t, s, q.shape[3])), False)


def like(t: int, s: int, d: int) -> tuple[str, str]:
    """The class of shapes that t queries, s keys and heads of width d belong to: its width and its lengths."""
    return "narrow" if d <= 64 else "middle" if d <= 160 else "wide", "text" if s < _FEWEST_QUERIES else "short" if t < 1024 else "long"


CLASSES = {like(t, s, d): (t, s, d) for d in (64, 128, 320) for t, s in ((512, 512), (1024, 1024), (1024, 77))}
"""A shape of each class, for measuring."""


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
    """softmax(q kᵀ / sqrt(d)) v for q [B, H, T, d], k and v [B, H, S, d] -> [B, H, T, d]; None where exponentials overflowed.

    The softmax does not change when a query's scores are all shifted. They are shifted by about their largest, inside the product where
    they are still float32: then those that count are small, and rounding them to 16 bits costs next to nothing. The shift is one more
    column of q against ones in k; the sum that divides is one more column, of ones, in v.
    """
    b, h, t, d = q.shape
    n, s = b * h, k.shape[2]
    q, k, v = (q * (_LOG2_E * d**-0.5)).reshape(n, t, d), k.reshape(n, s, d), v.reshape(n, s, d)
    sampled = k[:, ::_SAMPLE].transpose(1, 2)
    group = max(1, _PIECE // (t * sampled.shape[2]))
    largest = torch.cat([torch.bmm(q[i : i + group], sampled[i : i + group]).amax(-1, keepdim=True) for i in range(0, n, group)])
    if s == t:  # perhaps attention of a sequence to itself: then a token's own key is among its best
        largest = torch.maximum(largest, (q * k).sum(-1, keepdim=True))
    q = torch.cat([q, -largest, q.new_zeros(n, t, _up(d + 1, _PAIR) - d - 1)], -1)
    k, v = _with_ones(k, _PAIR), _with_ones(v, _ALIGN if d % _FILLED else _REST)
    out = q.new_empty(n, t, v.shape[2])
    piece = max(_ALIGN, _PIECE // s)
    scores = q.new_empty(min(piece, t), s)
    for head in range(n):
        columns, values = k[head].t(), v[head]
        for begin in range(0, t, piece):
            part = scores[: min(piece, t - begin)]
            torch.mm(q[head, begin : begin + piece], columns, out=part)
            torch.mm(part.exp2_(), values, out=out[head, begin : begin + piece])
    total = out[..., d : d + 1]
    if not total.isfinite().all():
        return None
    return (out[..., :d] / total).view(b, h, t, d)


def _with_ones(x: Tensor, align: int) -> Tensor:
    """x [n, s, d] with one more column, of ones, and as many zeros as make its width a multiple of `align`."""
    more = x.new_zeros(*x.shape[:2], _up(x.shape[2] + 1, align) - x.shape[2])
    more[..., 0] = 1
    return torch.cat([x, more], -1)


def _up(count: int, align: int) -> int:
    return -(-count // align) * align

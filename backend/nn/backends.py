"""Which of torch's fused kernels computes attention on a GPU.

Which one is fastest depends on device, type, width and lengths. Each class of shapes is measured when it first occurs on a machine, before
it is computed, so that the first picture is made with the same kernels as all later ones.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from backend.nn.choice import Choices, Clock

USUAL = "torch's own choice"
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
_ALWAYS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
_MOST_SCORES = 1 << 25  # with more, the way that writes them all out is never the fastest and may not fit


class Backends:
    """Attention by the kernel that `choices` hold for shapes like these, on a kind of device. `clock` measures there."""

    def __init__(self, choices: Choices, clock: Clock, device: str = "cuda") -> None:
        self.choices, self.device, self._clock = choices, device, clock
        self._known: dict[tuple[object, ...], str] = {}

    def attend(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        """softmax(q kᵀ / sqrt(d)) v for q [B, H, T, d], k and v [B, H, S, d] -> [B, H, T, d]."""
        like = (q.dtype, q.shape[3], _class(q.shape[0] * q.shape[1]), _class(q.shape[2]), _class(k.shape[2]), mask is not None)
        way = self._known.get(like)
        if way is None:
            if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
                return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # nothing may be waited for now
            way = self._known[like] = self._choose(like, q, k, v, mask)
        return _by(way, q, k, v, mask)

    def _choose(self, like: tuple[object, ...], q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> str:
        dtype, width, heads, queries, keys, masked = like
        question = f"attention, {dtype}, heads of {width} x {heads}, {queries} queries, {keys} keys{', masked' if masked else ''}"
        names = [USUAL, *BACKENDS]
        if q.shape[0] * q.shape[1] * q.shape[2] * k.shape[2] > _MOST_SCORES:
            names.remove("math")
        ways = {name: functools.partial(_by, name, q, k, v, mask, alone=True) for name in names}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a kernel that is asked for by name says at length why it cannot
            return self.choices.choose(question, USUAL, ways, self._clock)


def _by(way: str, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, alone: bool = False) -> Tensor:
    """Attention by one kernel; others stand in for what it cannot take (unless `alone`), since shapes of a class differ a little."""
    if way == USUAL:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    order = [BACKENDS[way], *([] if alone else [other for other in _ALWAYS if other != BACKENDS[way]])]
    with sdpa_kernel(order, set_priority=not alone):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _class(count: int) -> int:
    """Counts up to the next power of two are of one class."""
    return 1 << max(0, count - 1).bit_length()


def device_clock(device: torch.device) -> Clock:
    """Seconds on a CUDA device between two events around the work."""

    def clock(run: Callable[[], object]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        stream = torch.cuda.current_stream(device)
        begin.record(stream)
        run()
        end.record(stream)
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    return clock

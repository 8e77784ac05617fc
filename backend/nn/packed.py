"""Weights in the CPU kernels' own blocked layout. Reordering once saves it at every call, which counts where maps are small.

A weight that is brought at each use is packed as one that stays is, so both give the same bits. Packed tensors are opaque: `is_mkldnn`
tells them.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(slots=True)
class Packing:
    """What is packed; set once, by the process's composition root."""

    float32: bool = False
    """Linear layers in float32 too."""


PACKING = Packing()
_DENSE_CONV_KERNEL = 1  # 1x1 convolutions are matrix products already; without a known map size their packing is slower
_ONE_LAYOUT = 64  # only for multiples of this many channels out do the kernels want one layout at every map size; for others (96) a layout
# chosen without the map size may be the wrong one, and is then turned round at every call, twenty times slower than not packing


def pack_linear(weight: Tensor) -> Tensor:
    """A linear layer's weight [cout, cin], packed where the CPU's kernels take it.

    In float32 only where that was chosen: the unpacked product is another library's there, which rounds differently in the last bits.
    """
    if weight.dim() != 2 or not _can_pack(weight) or (weight.dtype == torch.float32 and not PACKING.float32):
        return weight
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


def pack_conv(weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution's weight [cout, cin, k, k], packed where the CPU's kernels take it and gain from it, else channels-last."""
    if weight.shape[-1] <= _DENSE_CONV_KERNEL or weight.shape[0] % _ONE_LAYOUT or not _can_pack(weight):
        return weight.contiguous(memory_format=torch.channels_last)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, [padding] * 2, [stride] * 2, [1, 1], 1, None)
    return packed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b with a packed weight."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
    """Convolution of [B, C, H, W] with a packed weight."""
    out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, weight, bias, [padding] * 2, [stride] * 2, [1, 1], 1, "none", [], "")
    return out


def _can_pack(weight: Tensor) -> bool:
    return weight.device.type == "cpu" and weight.numel() > 0 and weight.dtype in _packable()


@functools.cache
def _packable() -> tuple[torch.dtype, ...]:
    """The dtypes this machine's kernels take packed. Asked at the first weight, not at import."""
    if platform.machine().lower() not in ("x86_64", "amd64") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return ()
    bf16 = (torch.bfloat16,) if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ()
    return (torch.float32, *bf16)

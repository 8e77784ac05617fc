"""Weights in the CPU kernels' own blocked layout. Reordering once saves it at every call, which counts where maps are small.

A weight that is brought at each use is packed as one that stays is, so both give the same bits. Packed tensors are opaque: `is_mkldnn`
tells them. Where one tensor of the kernels is not enough, `Blocks` stands in its place.
"""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from backend.nn.eight import Eight


@dataclass(slots=True)
class Packing:
    """What is packed; set once, by the process's composition root."""

    float32: bool = False
    """Linear layers in float32 too."""


PACKING = Packing()
_ONE_LAYOUT = 64  # only for multiples of this many channels out do the kernels want one layout at every map size; for others (96) a layout
# chosen without the map size may be the wrong one, and is then turned round at every call, twenty times slower than not packing
_SEVERAL_LAYOUTS = frozenset({192, 384, 576, 768})  # multiples of 64 that are such others: 10 to 150 times slower on maps of 4 to 16 a side


def pack_linear(weight: Tensor) -> Tensor:
    """A linear layer's weight [cout, cin], packed where the CPU's kernels take it.

    In float32 only where that was chosen: the unpacked product is another library's there, which rounds differently in the last bits.
    """
    if weight.dim() != 2 or not _can_pack(weight) or (weight.dtype == torch.float32 and not PACKING.float32):
        return weight
    packed: Tensor = torch.ops.mkldnn._reorder_linear_weight(weight, None)
    return packed


class Blocks:
    """A weight of `shape` as packed matrices, each of some of its rows. Slots hold and answer with it as they do with a packed tensor."""

    is_mkldnn = True

    def __init__(self, parts: tuple[Tensor, ...], shape: torch.Size) -> None:
        self.parts, self.shape = parts, shape
        self.dtype, self.device, self.nbytes = parts[0].dtype, parts[0].device, sum(part.nbytes for part in parts)

    def to_dense(self) -> Tensor:
        """The weight as everyone reads it."""
        return torch.cat([part.to_dense() for part in self.parts]).view(self.shape)


def blocks(weight: Tensor) -> tuple[Tensor, ...]:
    """The packed matrices of a weight that consists of such; of any other: none."""
    return weight.parts if isinstance(weight, Blocks) else ()


def pack_halves(weight: Tensor) -> Tensor:
    """As `pack_linear`, the upper and the lower half of the rows by themselves."""
    upper, lower = (pack_linear(half) for half in weight.chunk(2))
    return cast(Tensor, Blocks((upper, lower), weight.shape)) if upper.is_mkldnn else weight


def pack_conv(weight: Tensor, stride: int, padding: int) -> Tensor:
    """A convolution's weight [cout, cin, k, k], packed where the CPU's kernels take it and gain from it, else channels-last.

    A 1x1 convolution is a matrix product over the positions. As a convolution its best layout depends on the size of the map.
    """
    if weight.shape[-1] == 1 and stride == 1 and padding == 0:
        matrix = pack_linear(weight.flatten(1))
        if matrix.is_mkldnn:
            return cast(Tensor, Blocks((matrix,), weight.shape))
    cout = weight.shape[0]
    if weight.shape[-1] == 1 or cout % _ONE_LAYOUT or cout in _SEVERAL_LAYOUTS or not _can_pack(weight):
        return weight.contiguous(memory_format=torch.channels_last)
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(weight, [padding] * 2, [stride] * 2, [1, 1], 1, None)
    return packed


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x Wᵀ + b with a packed weight."""
    if isinstance(weight, Eight):
        return weight.product(x, bias)
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


def gated(x: Tensor, value: Tensor, gate: Tensor, bias: Tensor) -> Tensor:
    """(x Vᵀ + b) * gelu(x Gᵀ + c) with packed V and G, b above c in `bias`. Neither product is written out before it is used."""
    b, c = bias.chunk(2)
    ops = torch.ops.mkldnn
    out: Tensor = ops._linear_pointwise.binary(x, ops._linear_pointwise(x, gate, c, "gelu", [], "none"), value, b, "mul")
    return out


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """1x1 convolution of [B, C, H, W] with a packed matrix; the result is channels-last."""
    return linear(x.permute(0, 2, 3, 1).contiguous(), weight, bias).permute(0, 3, 1, 2)


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

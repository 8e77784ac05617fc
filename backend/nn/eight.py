"""Matrix products in eight bits: weights as their file keeps them, activations rounded as they come.

Twice as fast as 16 bits on hardware that has them (NVIDIA from Ada and Hopper on for float8), at the price of about 3 % of noise in each
product. Scaling of activations follows Micikevicius et al. 2022 (arXiv:2209.05433, section 3), by the largest value that is there.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.functional import ScalingType

from backend.weights.quant.packed import FLOAT8, Packed
from backend.weights.quant.turned import turned


@dataclass(slots=True)
class Wish:
    """What the flags ask for; set once, by the process's composition root."""

    floats: bool = False
    """Products of every weight of a diffusion model that its file keeps in float8. Otherwise only where a file is opened so."""
    integers: bool = False
    """The same for int8."""
    on_cpu: bool = False
    """Also on a CPU, where float8 is computed slowly: for tests."""


WISH = Wish()
Thin = tuple[Tensor, Tensor]
"""What an adapter adds to a weight [out, in], as up [out, r] and down [r, in]; the strength is within."""
_MULTIPLE = 16  # rows and columns that the kernels take
_FEWEST = 32  # rows of activations that integer kernels take


class Eight:
    """A weight [out, in] as eight-bit values times a scale, and beside it what adapters add. Slots hold and answer with it as with a packed
    tensor; `dtype` is what its products are given in. Of each row, channels are turned in groups of `group`, unless that is 1."""

    is_mkldnn = True

    def __init__(self, values: Tensor, scale: Tensor | None, dtype: torch.dtype, thin: Sequence[Thin] = (), group: int = 1) -> None:
        self.group = group
        self.values, self.dtype, self.device, self.shape = values, dtype, values.device, values.shape
        self.scale = values.new_ones(1, dtype=torch.float32) if scale is None else scale.float().reshape(-1)
        self.thin = tuple((up.to(values.device, dtype), down.to(values.device, dtype)) for up, down in thin)
        self.nbytes = sum(t.nbytes for t in (self.values, self.scale, *(m for pair in self.thin for m in pair)))

    def to_dense(self) -> Tensor:
        """The weight as everyone reads it."""
        dense = self.values.float() * self.scale[:, None]
        dense = dense if self.group == 1 else turned(dense, self.group)
        for up, down in self.thin:
            dense.addmm_(up.float(), down.float())
        return dense.to(self.dtype)

    def record_stream(self, stream: torch.Stream) -> None:
        """Work of `stream` uses these tensors, though another made them."""
        for tensor in (self.values, self.scale, *(matrix for pair in self.thin for matrix in pair)):
            tensor.record_stream(stream)

    def beside(self, thin: Sequence[Thin]) -> Tensor:
        """The same values with other adapters."""
        return cast(Tensor, Eight(self.values, self.scale, self.dtype, thin, self.group))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x Wᵀ + b for x [..., in] -> [..., out], in the dtype of the weight."""
        rows = x.reshape(-1, x.shape[-1])
        alike = rows if self.group == 1 else turned(rows, self.group)
        out = (_integers if self.values.dtype == torch.int8 else _floats)(alike, self, bias)
        for up, down in self.thin:
            out = torch.addmm(out, rows @ down.t(), up.t())
        return out.view(*x.shape[:-1], out.shape[-1])


def takes(packed: Packed, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether products with this weight are to be computed in its eight bits, and can be."""
    narrow = packed.narrow
    if narrow is None or len(packed.shape) != 2 or 0 in packed.shape or any(side % _MULTIPLE for side in packed.shape):
        return False
    return packed.multiplied and multiplies(device, narrow.dtype, narrow.scaled == "rows", dtype)


def wished() -> tuple[torch.dtype, ...]:
    """The types of weights that the flags want multiplied as they are."""
    return (*(FLOAT8 if WISH.floats else ()), *((torch.int8,) if WISH.integers else ()))


def multiplies(device: torch.device, values: torch.dtype = FLOAT8[0], by_rows: bool = False, dtype: torch.dtype = torch.bfloat16) -> bool:
    """Whether this device multiplies such values in hardware, with one scale or one for each row."""
    return (device.type != "cpu" or values == torch.int8 or WISH.on_cpu) and _tried(device, values, by_rows, dtype)


def eight(packed: Packed, dtype: torch.dtype, thin: Sequence[Thin] = ()) -> Tensor:
    """The weight as layers take it, where its parts are."""
    assert packed.narrow is not None
    values, scale = packed.narrow.read(packed.parts)
    return cast(Tensor, Eight(values, scale, dtype, thin, packed.narrow.group))


@functools.cache
def _tried(device: torch.device, values: torch.dtype, by_rows: bool, dtype: torch.dtype) -> bool:
    """Asked of the device itself: generations, systems and versions of torch differ in what they have."""
    side = 2 * _FEWEST
    weight = Eight(torch.zeros(side, side, device=device).to(values), torch.ones(side if by_rows else 1, device=device), dtype)
    try:
        weight.product(torch.zeros(side, side, device=device, dtype=dtype), torch.zeros(side, device=device, dtype=dtype))
    except (RuntimeError, ValueError, NotImplementedError):
        return False
    return True


def _rounded(x: Tensor, most: float, by_rows: bool) -> tuple[Tensor, Tensor]:
    """x / scale, and the scale [rows, 1] or [1], so that the largest value becomes `most`. Nothing is asked of the device meanwhile."""
    largest = torch.linalg.vector_norm(x, float("inf"), dim=-1 if by_rows else (0, 1), keepdim=True)
    scale = (largest / most).clamp_(min=torch.finfo(x.dtype).tiny)
    return x / scale, scale.float()


def _floats(x: Tensor, weight: Eight, bias: Tensor | None) -> Tensor:
    by_rows = len(weight.scale) > 1
    values, scale = _rounded(x, torch.finfo(FLOAT8[0]).max, by_rows)
    kind, other = (ScalingType.RowWise, weight.scale[None]) if by_rows else (ScalingType.TensorWise, weight.scale)
    given = torch.bfloat16 if by_rows else weight.dtype  # the kernels that scale by rows know no other
    within = None if bias is None or given == torch.float32 else bias.to(given)
    one = scale if by_rows else scale.view(1)
    out = F.scaled_mm(values.to(FLOAT8[0]), weight.values.t(), one, kind, other, kind, bias=within, output_dtype=given).to(weight.dtype)
    return out if within is not None or bias is None else out + bias


def _integers(x: Tensor, weight: Eight, bias: Tensor | None) -> Tensor:
    values, scale = _rounded(x, 127, by_rows=True)
    whole = F.pad(values.round_().clamp_(-127, 127), (0, 0, 0, max(0, _FEWEST - len(x)))).to(torch.int8)
    out = torch._int_mm(whole, weight.values.t())[: len(x)].float().mul_(scale).mul_(weight.scale)
    return (out if bias is None else out.add_(bias)).to(weight.dtype)

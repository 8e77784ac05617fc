"""The block formats of GGUF (ggml). A row of values is cut into blocks of 32 or 256; a block is a few bytes of scales and small integers.

Layouts after ggml's published block structures. Everything works on `[blocks, bytes]` uint8 tensors and gives `[blocks, values]` float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Block:
    """A block format: values and bytes of a block, and what turns `[n, nbytes]` bytes into `[n, values]` numbers."""

    name: str
    values: int
    nbytes: int
    numbers: Callable[[Tensor], Tensor]


def unpack(block: Block, raw: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The float32 tensor of `shape` that the bytes hold."""
    return block.numbers(raw.view(-1, block.nbytes)).reshape(shape)


def nbytes(block: Block, shape: tuple[int, ...]) -> int:
    """Bytes of a tensor of `shape`. Its rows must be whole blocks."""
    return math.prod(shape) // block.values * block.nbytes


def _half(b: Tensor, at: int) -> Tensor:
    """The f16 at byte `at` of each block, [n, 1] float32."""
    return b[:, at : at + 2].contiguous().view(torch.float16).float()


def _nibbles(b: Tensor) -> Tensor:
    """[n, k] bytes -> [n, 2k]: all low halves, then all high ones."""
    return torch.cat([b & 15, b >> 4], 1)


def _bits32(b: Tensor) -> Tensor:
    """[n, 4] bytes -> [n, 32] bits, the lowest first."""
    shifts = torch.arange(8, dtype=torch.uint8, device=b.device)
    return (b.unsqueeze(2) >> shifts & 1).reshape(b.shape[0], 32)


def _q4_0(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b[:, 2:]).float() - 8)


def _q4_1(b: Tensor) -> Tensor:
    return _half(b, 0) * _nibbles(b[:, 4:]).float() + _half(b, 2)


def _q5_0(b: Tensor) -> Tensor:
    return _half(b, 0) * ((_nibbles(b[:, 6:]) | _bits32(b[:, 2:6]) << 4).float() - 16)


def _q5_1(b: Tensor) -> Tensor:
    return _half(b, 0) * (_nibbles(b[:, 8:]) | _bits32(b[:, 4:8]) << 4).float() + _half(b, 2)


def _q8_0(b: Tensor) -> Tensor:
    return _half(b, 0) * b[:, 2:].view(torch.int8).float()


def _pairs(b: Tensor, bits: int, count: int) -> Tensor:
    """[n, k] bytes -> [n, count, k]: the `bits` wide fields of each byte, the lowest first."""
    shifts = torch.arange(0, bits * count, bits, dtype=torch.uint8, device=b.device)
    return b.unsqueeze(1) >> shifts[:, None] & (1 << bits) - 1


def _q2_k(b: Tensor) -> Tensor:
    n = b.shape[0]
    scales, quants = b[:, :16], b[:, 16:80].reshape(n * 2, 32)
    q = _pairs(quants, 2, 4).reshape(n, 16, 16).float()
    d, low = _half(b, 80), _half(b, 82)
    return (((d * (scales & 15)).unsqueeze(2) * q) - (low * (scales >> 4)).unsqueeze(2)).reshape(n, 256)


def _q3_k(b: Tensor) -> Tensor:
    n = b.shape[0]
    high, quants, packed, d = b[:, :32], b[:, 32:96].reshape(n * 2, 32), b[:, 96:108], _half(b, 108)
    lows = torch.cat([packed[:, :8] & 15, packed[:, :8] >> 4], 1)
    tops = _pairs(packed[:, 8:12], 2, 4).reshape(n, 16)
    scales = (lows | tops << 4).float() - 32
    q = _pairs(quants, 2, 4).reshape(n, 256).float()
    lacks = 1 - _pairs(high, 1, 8).reshape(n, 256).float()
    return ((d * scales).unsqueeze(2) * (q - 4 * lacks).reshape(n, 16, 16)).reshape(n, 256)


def _scales_and_mins(b: Tensor) -> tuple[Tensor, Tensor]:
    """[n, 12] bytes -> eight 6-bit scales and eight 6-bit minima."""
    first, second, third = b[:, 0:4], b[:, 4:8], b[:, 8:12]
    scales = torch.cat([first & 63, third & 15 | first >> 6 << 4], 1)
    minima = torch.cat([second & 63, third >> 4 | second >> 6 << 4], 1)
    return scales, minima


def _with_minima(b: Tensor, q: Tensor) -> Tensor:
    """d * scale * q - dmin * min for [n, 8, 32] quantised values."""
    scales, minima = _scales_and_mins(b[:, 4:16])
    return ((_half(b, 0) * scales).unsqueeze(2) * q.float() - (_half(b, 2) * minima).unsqueeze(2)).reshape(b.shape[0], 256)


def _q4_k(b: Tensor) -> Tensor:
    n = b.shape[0]
    return _with_minima(b, _pairs(b[:, 16:].reshape(n * 4, 32), 4, 2).reshape(n, 8, 32))


def _q5_k(b: Tensor) -> Tensor:
    n = b.shape[0]
    low = _pairs(b[:, 48:].reshape(n * 4, 32), 4, 2).reshape(n, 8, 32)
    return _with_minima(b, low | _pairs(b[:, 16:48], 1, 8) << 4)


def _q6_k(b: Tensor) -> Tensor:
    n = b.shape[0]
    low = _pairs(b[:, :128].reshape(n * 2, 64), 4, 2).reshape(n, 2, 4, 32)
    top = _pairs(b[:, 128:192].reshape(n * 2, 32), 2, 4).reshape(n, 2, 4, 32)
    q = (low | top << 4).reshape(n, 16, 16).float() - 32
    scales = b[:, 192:208].view(torch.int8).float()
    return ((_half(b, 208) * scales).unsqueeze(2) * q).reshape(n, 256)


BLOCKS: Mapping[int, Block] = {
    2: Block("Q4_0", 32, 18, _q4_0),
    3: Block("Q4_1", 32, 20, _q4_1),
    6: Block("Q5_0", 32, 22, _q5_0),
    7: Block("Q5_1", 32, 24, _q5_1),
    8: Block("Q8_0", 32, 34, _q8_0),
    10: Block("Q2_K", 256, 84, _q2_k),
    11: Block("Q3_K", 256, 110, _q3_k),
    12: Block("Q4_K", 256, 144, _q4_k),
    13: Block("Q5_K", 256, 176, _q5_k),
    14: Block("Q6_K", 256, 210, _q6_k),
}
"""By the number of the type in a GGUF file."""

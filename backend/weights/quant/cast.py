"""A file seen in float8, whatever it is in: half the bytes of 16-bit weights for a little precision."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from backend.weights.file import Entry, WeightFile
from backend.weights.mapped import Place
from backend.weights.quant.packed import Narrow, Packed, float8


class Cast(WeightFile):
    """`file` with its matrices and convolutions rounded to `dtype`. Vectors (biases, norms) weigh little and stay as they are, as does
    what the file keeps in few bits.

    `multiplied`: matrix products are to be computed in it too, where the device can.
    """

    def __init__(self, file: WeightFile, dtype: torch.dtype, multiplied: bool = False) -> None:
        self.file, self.dtype, self.multiplied = file, dtype, multiplied
        self.path, self.metadata = file.path, file.metadata

    @property
    def mark(self) -> str:
        return f"{self.file.mark}#{str(self.dtype).removeprefix('torch.')}{'-multiplied' if self.multiplied else ''}"

    def __getitem__(self, key: str) -> Entry:
        entry = self.file[key]
        return Entry(entry.shape, self.dtype, entry.nbytes // entry.dtype.itemsize) if self._rounds(key) else entry

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)

    def tensor(self, key: str) -> Tensor:
        weight = self.file.tensor(key)
        return weight.to(self.dtype) if self._rounds(key) else weight

    def packed(self, key: str) -> Packed | None:
        if not self._rounds(key):
            packed = self.file.packed(key)
            return replace(packed, multiplied=True) if packed is not None and self.multiplied else packed
        narrow = Narrow(self.dtype, "", lambda parts: (parts["weight"].to(self.dtype), None))
        weight, unpack = self.file.tensor(key), lambda parts, shape: parts["weight"].to(self.dtype).float()
        return Rounded("fp8", {"weight": weight}, self.file[key].shape, unpack, narrow, self.multiplied, self.dtype)

    def places(self, key: str) -> tuple[Place, ...]:
        return self.file.places(key)

    def _rounds(self, key: str) -> bool:
        entry = self.file[key]
        return len(entry.shape) > 1 and entry.dtype.is_floating_point and entry.dtype.itemsize > 1 and self.file.packed(key) is None


class Multiplied(WeightFile):
    """`file`, whose weights in these types of eight bits are to be multiplied as they are, where the device can."""

    def __init__(self, file: WeightFile, dtypes: Collection[torch.dtype]) -> None:
        self.file, self.dtypes = file, dtypes
        self.path, self.metadata = file.path, file.metadata

    @property
    def mark(self) -> str:
        return self.file.mark

    def __getitem__(self, key: str) -> Entry:
        return self.file[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)

    def tensor(self, key: str) -> Tensor:
        return self.file.tensor(key)

    def packed(self, key: str) -> Packed | None:
        packed = self.file.packed(key)
        wished = packed is not None and packed.narrow is not None and packed.narrow.dtype in self.dtypes
        return replace(packed, multiplied=True) if packed is not None and wished else packed

    def places(self, key: str) -> tuple[Place, ...]:
        return self.file.places(key)


@dataclass(frozen=True)
class Rounded(Packed):
    """A weight that is rounded to float8 when it moves."""

    dtype: torch.dtype = torch.float8_e4m3fn

    @property
    def nbytes(self) -> int:
        return self.parts["weight"].numel()

    def to(self, device: torch.device) -> Packed:
        return float8(self.parts["weight"].to(self.dtype).to(device))

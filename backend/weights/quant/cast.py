"""A file seen in float8, whatever it is in: half the bytes of 16-bit weights for a little precision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from backend.weights.file import Entry, WeightFile
from backend.weights.quant.packed import Packed, float8


class Cast(WeightFile):
    """`file` with its matrices and convolutions rounded to `dtype`. Vectors (biases, norms) weigh little and stay as they are."""

    def __init__(self, file: WeightFile, dtype: torch.dtype) -> None:
        self.file, self.dtype = file, dtype
        self.path, self.metadata = file.path, file.metadata

    @property
    def mark(self) -> str:
        return f"{self.file.mark}#{str(self.dtype).removeprefix('torch.')}"

    def __getitem__(self, key: str) -> Entry:
        entry = self.file[key]
        return Entry(entry.shape, self.dtype, entry.nbytes // entry.dtype.itemsize) if self._rounds(entry) else entry

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)

    def tensor(self, key: str) -> Tensor:
        weight = self.file.tensor(key)
        return weight.to(self.dtype) if self._rounds(self.file[key]) else weight

    def packed(self, key: str) -> Packed | None:
        entry = self.file[key]
        if not self._rounds(entry):
            return self.file.packed(key)
        weight = self.file.tensor(key)
        return Rounded("fp8", {"weight": weight}, entry.shape, lambda parts, shape: parts["weight"].to(self.dtype).float(), self.dtype)

    def prefetch(self, key: str) -> None:
        self.file.prefetch(key)

    def release(self, key: str) -> None:
        self.file.release(key)

    def _rounds(self, entry: Entry) -> bool:
        return len(entry.shape) > 1 and entry.dtype.is_floating_point and entry.dtype.itemsize > 1


@dataclass(frozen=True)
class Rounded(Packed):
    """A weight that is rounded to float8 when it moves."""

    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return self.parts["weight"].numel()

    def to(self, device: torch.device) -> Packed:
        return float8(self.parts["weight"].to(self.dtype).to(device))

"""Where one weight comes from. A layer asks its slot; it never knows whether the answer was resident or read just now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

Delta = Callable[[Tensor], Tensor]
"""Original weight -> patched weight. Called with a private float32 copy on its device, which it may edit and give back."""


class Slot(Protocol):
    """Answers with the weight on `device` in `dtype`, patches applied. The result must be treated as read-only."""

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor: ...


def materialise(weight: Tensor, deltas: tuple[Delta, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A private copy of `weight` on `device` in `dtype` with `deltas` applied in float32."""
    if deltas:
        patched = weight.to(device, torch.float32, copy=True, memory_format=torch.contiguous_format)
        for delta in deltas:
            patched = delta(patched)
        weight = patched
    return weight.to(device=device, dtype=dtype, memory_format=torch.contiguous_format, copy=not deltas)


Pack = Callable[[Tensor], Tensor]
"""Weight -> the same values in the layout its layer is fastest with."""


class Resident:
    """A weight kept on the device. Packed at its first use: half of an autoencoder, say, may never be used."""

    __slots__ = ("pack", "weight")

    def __init__(self, weight: Tensor, pack: Pack | None = None) -> None:
        self.weight, self.pack = weight, pack

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        if self.weight.dtype == dtype and self.weight.device == device:
            if self.pack is not None:
                self.weight, self.pack = self.pack(self.weight), None
            return self.weight
        weight = self.weight.to_dense() if self.weight.is_mkldnn else self.weight
        return weight.to(device=device, dtype=dtype)


class Streamed:
    """A weight read from its source at each use, in the same way as it would be made resident: results are equal bit for bit."""

    __slots__ = ("deltas", "dtype", "key", "pack", "source")

    def __init__(self, source: Mapping[str, Tensor], key: str, deltas: tuple[Delta, ...], dtype: torch.dtype, pack: Pack) -> None:
        self.source, self.key, self.deltas, self.dtype, self.pack = source, key, deltas, dtype, pack

    def fetch(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        weight = materialise(self.source[self.key], self.deltas, device, self.dtype)
        return self.pack(weight) if dtype == self.dtype else weight.to(dtype)

"""Tensors in memory, with the surface of a weight file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from backend.weights.file import Entry, WeightFile


class Held(WeightFile):
    """Tensors that no file holds (yet). Their identity is their content."""

    def __init__(self, tensors: Mapping[str, Tensor], name: str = "weights in memory", metadata: Mapping[str, str] | None = None) -> None:
        self.tensors, self.path, self.metadata = dict(tensors), Path(name), dict(metadata or {})
        self._mark: str | None = None

    @property
    def mark(self) -> str:
        """A digest of names, shapes and values."""
        if self._mark is None:
            digest = hashlib.blake2b(digest_size=16)
            for key, value in self.tensors.items():
                digest.update(f"{key}\0{tuple(value.shape)}\0{value.dtype}\0".encode())
                if value.numel():
                    digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
            self._mark = f"{self.path}#{digest.hexdigest()}"
        return self._mark

    def __getitem__(self, key: str) -> Entry:
        t = self.tensors[key]
        return Entry(tuple(t.shape), t.dtype, t.nbytes)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)

    def tensor(self, key: str) -> Tensor:
        return self.tensors[key]

"""A file mapped into memory, and tensors that are views on it."""

from __future__ import annotations

import math
import mmap
from pathlib import Path

import torch
from torch import Tensor

_PAGE = mmap.PAGESIZE


class MappedFile:
    """A private mapping of a whole file: reading it reads the file, writing would never reach the file. Raises OSError."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as f:
            # Private and writable, because torch has no read-only tensors; nobody writes.
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        self.size = len(self.map)

    def view(self, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor whose bytes begin at `start`; a view, except where its bytes are not aligned for its dtype."""
        count = math.prod(shape)
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        raw = torch.frombuffer(self.map, dtype=torch.uint8, count=count * dtype.itemsize, offset=start)
        if start % dtype.itemsize:
            raw = raw.clone()
        return raw.view(dtype).reshape(shape)

    def prefetch(self, start: int, nbytes: int) -> None:
        self._advise("MADV_WILLNEED", start // _PAGE * _PAGE, start + nbytes)

    def release(self, start: int, nbytes: int) -> None:
        # Only whole pages: a neighbour's bytes would merely be read again, but why.
        self._advise("MADV_DONTNEED", -(-start // _PAGE) * _PAGE, (start + nbytes) // _PAGE * _PAGE)

    def _advise(self, name: str, start: int, stop: int) -> None:
        advice = getattr(mmap, name, None)  # absent on Windows
        if advice is not None and stop > start:
            self.map.madvise(advice, start, stop - start)

"""A file mapped into memory, and tensors that are views on it."""

from __future__ import annotations

import contextlib
import errno
import math
import mmap
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

_PAGE = mmap.PAGESIZE
_MAP_NORESERVE = 0x4000


@dataclass(slots=True)
class Reading:
    """How tensors are read; set once, by the process's composition root."""

    mapped: bool = True
    """As views on the mapping. Else they are read into memory when asked for, which some network drives are faster and safer with."""
    maps: Callable[[Path, int], bool] = lambda path, size: True
    """Whether this file of so many bytes is better mapped, where mapping is not ruled out."""
    around: Callable[[Path], bool] = lambda path: False
    """Whether what is read once of this file is better read around the system's page cache."""


READING = Reading()


def _map(descriptor: int) -> mmap.mmap:
    """A private mapping of a whole file, writable because torch has no read-only tensors; nobody writes.

    Linux would set memory aside for what might be written, and refuse files that are larger than all memory: it is told not to. Where it
    does so nevertheless, as some administrators ask, the mapping is read-only. Raises OSError.
    """
    if sys.platform != "linux":
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY)
    try:
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE | _MAP_NORESERVE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def identity(descriptor: int) -> tuple[int, ...]:
    """What tells an opened file from another under its name, and from itself after a change. Raises OSError."""
    stat = os.fstat(descriptor)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns


class MappedFile:
    """A private mapping of a whole file: reading it reads the file, writing would never reach the file. Raises OSError."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as f:
            self.map = _map(f.fileno())
            self.identity = identity(f.fileno())
        self.path, self.size = path, len(self.map)
        self._maps = READING.maps(path, self.size)
        self.around = READING.mapped and READING.around(path)
        self.lent: dict[int, Tensor] = {}
        """Bytes (uint8) that somebody has read already, by where they begin."""

    def view(self, start: int, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The tensor whose bytes begin at `start`; a view, except where its bytes are not aligned for its dtype or files are not mapped.
        Raises OSError."""
        count = math.prod(shape)
        nbytes = count * dtype.itemsize
        if count == 0:
            return torch.empty(shape, dtype=dtype)
        raw = self.lent.get(start)
        if raw is None or raw.numel() != nbytes:
            if not (READING.mapped and self._maps):
                return self._read(start, nbytes).view(dtype).reshape(shape)
            raw = torch.frombuffer(self.map, dtype=torch.uint8, count=nbytes, offset=start)
        if start % dtype.itemsize:
            raw = raw.clone()
        return raw.view(dtype).reshape(shape)

    def _read(self, start: int, nbytes: int) -> Tensor:
        buffer = torch.empty(nbytes, dtype=torch.uint8)
        with self.path.open("rb", buffering=0) as f:
            f.seek(start)
            at = buffer.numpy().data
            while at:
                got = f.readinto(at)
                if not got:
                    raise OSError(f"{self.path.name} has become shorter while it was read")
                at = at[got:]
        return buffer

    def prefetch(self, start: int, nbytes: int) -> None:
        self._advise("MADV_WILLNEED", start // _PAGE * _PAGE, start + nbytes)

    def release(self, start: int, nbytes: int) -> None:
        # Only whole pages: a neighbour's bytes would merely be read again, but why.
        begin, end = -(-start // _PAGE) * _PAGE, (start + nbytes) // _PAGE * _PAGE
        if sys.platform == "linux" and end > begin:
            with contextlib.suppress(OSError):  # systems before Linux 5.4
                self.map.madvise(_MADV_COLD, begin, end - begin)  # when memory is short these pages go first, not those of other programs
        self._advise("MADV_DONTNEED", begin, end)

    def _advise(self, name: str, start: int, stop: int) -> None:
        advice = getattr(mmap, name, None)  # absent on Windows
        if advice is not None and stop > start:
            self.map.madvise(advice, start, stop - start)


class Place(NamedTuple):
    """Where the bytes of a tensor lie."""

    file: MappedFile
    start: int
    nbytes: int


_MADV_COLD = 20

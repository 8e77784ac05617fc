"""Which way of reading files is the faster one on a file system: mapping them, or large reads. Measured once, kept in a file.

On local disks a mapping whose pages the system reads ahead is as fast as the disk; on some network drives and FUSE mounts each page is a
question of its own, and large reads are many times faster.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.storage.remembered import Remembered

_LARGE = 256 << 20  # bytes of a file that is worth the question
_SAMPLE = 24 << 20  # bytes read each way
_PIECE = 8 << 20
_CLEARLY = 1.25  # times as fast
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bytes a second."""

    mapped: float
    read: float

    @property
    def prefers_mapping(self) -> bool:
        """Whether files are better mapped: their pages are then the system's, and need no memory of the process."""
        return self.read < self.mapped * _CLEARLY


class Ways:
    """What is known of file systems, kept in the JSON file `path` where one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._known = Remembered(path, _speeds, lambda speeds: [speeds.mapped, speeds.read])

    def known(self, path: Path) -> Speeds | None:
        """What was measured where this file lies."""
        return self._known.get(file_system(path))

    def maps(self, path: Path, size: int) -> bool:
        """Whether to map this file of `size` bytes. A large one that is not in memory is tried both ways, the first time on its file
        system: 48 MB, which it then has in memory already."""
        known = self.known(path)
        if known is None and size >= _LARGE:
            known = _measure(path, size)
            if known is not None:
                self._known.put(file_system(path), known)
        return known is None or known.prefers_mapping


def _speeds(stored: Any) -> Speeds:
    mapped, read = stored
    return Speeds(float(mapped), float(read))


def file_system(path: Path, mounts: Path = MOUNTS) -> str:
    """A name of the file system a file lies on that stays the same over restarts: its kind, source and place."""
    with contextlib.suppress(OSError):
        device = os.stat(path).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
            before, _, after = line.partition(" - ")
            words, kind = before.split(), after.split()
            if len(words) > 4 and words[2] == wanted and len(kind) > 1:
                return f"{kind[0]} {kind[1]} {words[4]}"
        return f"device {device}"
    return "unknown"


def _measure(path: Path, size: int) -> Speeds | None:
    """Speeds of two pieces of the file that are not in memory; None where they are, or where that cannot be known."""
    first, second = (size * part // 8 // mmap.PAGESIZE * mmap.PAGESIZE for part in (3, 6))
    try:
        with path.open("rb", buffering=0) as file:
            if any(_in_memory(file.fileno(), start + at) for start in (first, second) for at in range(0, _SAMPLE, _PIECE)):
                return None
            return Speeds(_rate(lambda: _mapped(file.fileno(), first)), _rate(lambda: _read(file.fileno(), second)))
    except (OSError, ValueError, AttributeError):
        return None


def _rate(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return _SAMPLE / max(time.perf_counter() - began, 1e-6)


def _in_memory(descriptor: int, at: int) -> bool:
    """Whether the system has this part of the file in memory. Raises OSError, AttributeError where it cannot be asked."""
    try:
        return os.preadv(descriptor, [bytearray(1)], at, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False


def _mapped(descriptor: int, start: int) -> None:
    with mmap.mmap(descriptor, _SAMPLE, access=mmap.ACCESS_READ, offset=start) as view:
        view.madvise(mmap.MADV_WILLNEED)
        for at in range(0, _SAMPLE, mmap.PAGESIZE):
            view[at]


def _read(descriptor: int, start: int) -> None:
    buffer = bytearray(_PIECE)
    for at in range(start, start + _SAMPLE, _PIECE):
        os.preadv(descriptor, [buffer], at)

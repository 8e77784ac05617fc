"""Which way of reading files is the faster one on a file system: mapping them, large reads, or large reads around the system's page
cache. Measured once, kept in a file.

On local disks a mapping whose pages the system reads ahead is as fast as the disk; on some network drives and FUSE mounts each page is a
question of its own, and large reads are many times faster. Reading around the page cache costs a tenth of the processor's time and pushes
nothing out of it, but leaves nothing there: `keeps` says when that matters.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.storage.remembered import Remembered

_LARGE = 256 << 20  # bytes of a file that is worth the question
_PIECE, _TRIES = 8 << 20, 4  # bytes read at once, and how often each way
_CLEARLY = 1.25  # times as fast
_AS_FAST = 0.75
_AT_ONCE = 2  # pieces read side by side around the page cache
_FREE = 512 << 20  # bytes of memory that are to stay free
MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Speeds:
    """Bytes a second."""

    mapped: float
    read: float
    around: float
    """0 where the page cache cannot be passed by."""

    @property
    def prefers_mapping(self) -> bool:
        """Whether files are better mapped: their pages are then the system's, and need no memory of the process."""
        return self.read < self.mapped * _CLEARLY

    @property
    def passes_by(self) -> bool:
        """Whether reading around the page cache is as fast as through it. It may seem a little slower: what it saves
        the processor then weighs more than what a single try may miss."""
        return self.around > _AS_FAST * max(self.mapped, self.read)


def keeps(nbytes: int, left: int | None) -> bool:
    """Whether the page cache will still have a file of `nbytes` when it is read again, if `left` bytes of memory can be had beside what is
    made of it (None: unknown). Where it would fill more than half of that it is soon pushed out, or pushes out files of other programs."""
    return left is None or 2 * nbytes + _FREE <= left


class Ways:
    """What is known of file systems, kept in the JSON file `path` where one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._known = Remembered(path, _speeds, lambda speeds: [speeds.mapped, speeds.read, speeds.around])

    def known(self, path: Path) -> Speeds | None:
        """What was measured where this file lies."""
        return self._known.get(file_system(path))

    def maps(self, path: Path, size: int) -> bool:
        """Whether to map this file of `size` bytes. A large one that is not in memory is tried all ways, the first time on its file
        system: 96 MB, most of which it then has in memory already."""
        known = self.known(path)
        if known is None and size >= _LARGE:
            known = _measure(path, size)
            if known is not None:
                self._known.put(file_system(path), known)
        return known is None or known.prefers_mapping

    def around(self, path: Path) -> bool:
        """Whether this file is better read around the page cache, if that would not keep it."""
        known = self.known(path)
        return known is not None and known.passes_by


def _speeds(stored: Any) -> Speeds:
    mapped, read, around = stored
    return Speeds(float(mapped), float(read), float(around))


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
    """Speeds over pieces of the file that are not in memory, the best of a few tries, by turns since other programs use the disk too. None
    where the pieces are in memory, or where that cannot be known."""
    starts = [size * part // (3 * _TRIES + 2) // mmap.PAGESIZE * mmap.PAGESIZE for part in range(1, 3 * _TRIES + 1)]
    best, buffer = [0.0, 0.0, 0.0], mmap.mmap(-1, _PIECE)
    buffer[:] = bytes(_PIECE)  # memory that is new costs more than reading into it
    try:
        with Asking(path) as asking, path.open("rb", buffering=0) as file, ThreadPoolExecutor(_AT_ONCE) as readers:
            if any(asking.in_memory(start, _PIECE) for start in starts):
                return None
            for i, start in enumerate(starts):
                begun = time.perf_counter()
                if i % 3 == 0:
                    _mapped(file.fileno(), start)
                elif i % 3 == 1:
                    os.preadv(file.fileno(), [buffer], start)
                elif not _around(path, start, buffer, readers):
                    continue
                best[i % 3] = max(best[i % 3], _PIECE / max(time.perf_counter() - begun, 1e-6))
    except (OSError, ValueError, AttributeError):
        return None
    return Speeds(*best)


def _mapped(descriptor: int, start: int) -> None:
    with mmap.mmap(descriptor, _PIECE, access=mmap.ACCESS_READ, offset=start) as view:
        view.madvise(mmap.MADV_WILLNEED)
        for at in range(0, _PIECE, mmap.PAGESIZE):
            view[at]


def _around(path: Path, start: int, buffer: mmap.mmap, readers: Executor) -> bool:
    """Whether a piece could be read around the page cache."""
    length = _PIECE // _AT_ONCE
    parts = [memoryview(buffer)[i * length : (i + 1) * length] for i in range(_AT_ONCE)]
    try:
        descriptor = open_around(path)
    except OSError:
        return False
    try:
        list(readers.map(lambda i: os.preadv(descriptor, [parts[i]], start + i * length), range(_AT_ONCE)))
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def open_around(path: Path) -> int:
    """A descriptor whose reads pass the page cache by; they begin at, end at and go to whole pages. Raises OSError where there is none."""
    flag = getattr(os, "O_DIRECT", None)
    if flag is None or not hasattr(os, "preadv"):
        raise OSError("this system reads files through its page cache")
    return os.open(path, os.O_RDONLY | flag | os.O_CLOEXEC)


class Asking:
    """Asks the system what it has in memory of a file. `mapping` is one of the whole file. Raises OSError, ValueError, AttributeError where
    there can be none."""

    def __init__(self, path: Path, mapping: mmap.mmap | None = None) -> None:
        self._ask = ctypes.CDLL(None).mincore
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(self.descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # a question must not have it read ahead
            self._mapping = mapping or mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        except BaseException:
            self.close()
            raise
        self._address = np.frombuffer(self._mapping, np.uint8).ctypes.data

    def in_memory(self, start: int, nbytes: int) -> float:
        """The part of these bytes that the system has in memory. Raises OSError where it does not tell."""
        begin, end = start // mmap.PAGESIZE * mmap.PAGESIZE, start + nbytes
        pages = np.zeros(-(-(end - begin) // mmap.PAGESIZE), np.uint8)
        if self._ask(ctypes.c_void_p(self._address + begin), ctypes.c_size_t(end - begin), ctypes.c_void_p(pages.ctypes.data)):
            raise OSError("the system does not tell what it has in memory")
        share = float((pages & 1).mean())
        return float(self._answers(start)) if share == 1 else share  # it says so of all files that this user may not write

    def _answers(self, at: int) -> bool:
        try:
            return os.preadv(self.descriptor, [bytearray(1)], at, os.RWF_NOWAIT) > 0
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.descriptor)

    def __enter__(self) -> Asking:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

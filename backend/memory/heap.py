"""What the C library keeps of the memory that was freed. glibc keeps holes between blocks that stay, hundreds of megabytes after patching
a model, and in workers everything, as the next net is best read into what the last one left."""

from __future__ import annotations

import ctypes
import sys
from typing import Any


def trim() -> None:
    """Return the free pages inside the heap to the system. Does nothing where there is no such call."""
    release = _of_libc("malloc_trim")
    if release is not None:
        release(0)
        _GIVEN.nbytes = _free()


def kept() -> int:
    """Bytes that were freed since the last `trim` and are still the process's, for what is made next; 0 where that cannot be asked."""
    free = _free()
    _GIVEN.nbytes = min(_GIVEN.nbytes, free)  # some of what was given back is used again
    return free - _GIVEN.nbytes


class _Info(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
    )


class _Given:
    """Bytes in free blocks whose pages went back to the system."""

    nbytes = 0


def _free() -> int:
    """Bytes of the heap in free blocks, whether their pages are there or were given back."""
    ask = _of_libc("mallinfo2")
    if ask is None:
        return 0
    ask.restype = _Info
    return int(ask().fordblks)


def _of_libc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None


_GIVEN = _Given()

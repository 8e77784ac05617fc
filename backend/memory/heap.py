"""Give freed memory back to the system where the C library keeps it."""

from __future__ import annotations

import ctypes
import sys

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _Info(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS]


def trim(above: int = 0) -> None:
    """Return the free pages inside the heap, if there are more than `above` bytes of them.

    glibc keeps holes between weights that stay, hundreds of megabytes after patching a model. Does nothing where there is no such call.
    """
    if sys.platform != "linux":
        return
    library = ctypes.CDLL(None)
    release, tell = getattr(library, "malloc_trim", None), getattr(library, "mallinfo2", None)
    if tell is not None and above:
        tell.restype = _Info
        if tell().fordblks <= above:
            return
    if release is not None:
        release(0)

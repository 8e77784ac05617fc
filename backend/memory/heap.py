"""Give freed memory back to the system where the C library keeps it."""

from __future__ import annotations

import ctypes
import sys


def trim() -> None:
    """Return the free pages inside the heap. glibc keeps holes between weights that stay, hundreds of megabytes after patching a model.

    Does nothing where there is no such call.
    """
    if sys.platform == "linux":
        release = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if release is not None:
            release(0)

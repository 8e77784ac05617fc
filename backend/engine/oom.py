"""Running out of memory: how to know it, and what to say."""

from __future__ import annotations

import re

from backend.base.errors import OutOfMemory

_WORDS = (
    "can't allocate memory",
    "CUDA error: out of memory",
    "HIP error: out of memory",
    "MPS backend out of memory",
    "STATUS_ALLOC_FAILED",
    "can't start new thread",
    "could not create a primitive",  # oneDNN, where it finds no room for the code it writes; what it cannot do is "a primitive descriptor"
)
"""What libraries say without a type of their own."""
_UNITS = {"bytes": 1.0, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
OOM_HINT = "Try a smaller size or batch, a tiled node, or free memory held by other programs."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, ours or a library's word for it (torch's CPU allocator has no type of its own)."""
    if isinstance(error, (OutOfMemory, MemoryError)) or any(k.__name__ == "OutOfMemoryError" for k in type(error).__mro__):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and "primitive descriptor" not in text and any(words in text for words in _WORDS)


def memory_sentence(error: BaseException) -> str:
    """What ran out, for a person; with the size asked for where the error names it."""
    text = str(error)
    found = re.search(r"allocate ([\d.]+) (bytes|[KMGT]iB)", text)
    size = f": it asked for {_size(float(found[1]) * _UNITS[found[2]])} at once" if found else ""
    left = re.search(r"total capacity of ([\d.]+) ([KMGT]iB) of which ([\d.]+) ([KMGT]iB) is free", text)
    if size and left:
        total, free = (float(left[i]) * _UNITS[left[i + 1]] / 1e9 for i in (1, 3))
        size += f", and {free:,.1f} of {total:,.1f} GB were free"
    return f"This node needs more memory than there is{size}."


def _size(nbytes: float) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e8 else f"{nbytes / 1e6:,.1f} MB"

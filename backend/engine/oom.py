"""Running out of memory: how to know it, and what to say."""

from __future__ import annotations

import re

from backend.base.errors import OutOfMemory

OOM_HINT = "Try a smaller size or batch, a tiled node, or free memory held by other programs."


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, ours or a library's word for it (torch's CPU allocator has no type of its own)."""
    if isinstance(error, (OutOfMemory, MemoryError)) or any(k.__name__ == "OutOfMemoryError" for k in type(error).__mro__):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def memory_sentence(error: BaseException) -> str:
    """What ran out, for a person; with the size asked for where the error names it."""
    asked = re.search(r"allocate (\d+) bytes", str(error))
    size = f": it asked for {int(asked[1]) / 1e9:,.1f} GB at once" if asked else ""
    return f"This node needs more memory than there is{size}."

"""How many bytes a value holds, by asking it. Works for tensors and arrays without importing their libraries."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

_LIMIT = 100_000  # values looked at; beyond that the rest is not counted


def nbytes(value: Any) -> int:
    """Bytes of the tensors, arrays, texts and byte strings inside `value`; storage that several tensors share counts once."""
    total = 0
    seen: set[int] = set()
    stack = [value]
    for _ in range(_LIMIT):
        if not stack:
            break
        item = stack.pop()
        if item is None or isinstance(item, (bool, int, float)) or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, (str, bytes, bytearray)):
            total += sys.getsizeof(item)
        elif isinstance(item, Mapping):
            stack.extend(item.values())
        elif isinstance(item, (list, tuple, set, frozenset)):
            stack.extend(item)
        else:
            total += _of_object(item, seen)
    return total


def _of_object(item: Any, seen: set[int]) -> int:
    storage = getattr(item, "untyped_storage", None)
    if callable(storage):
        held = storage()
        pointer = held.data_ptr()
        if pointer and -pointer in seen:
            return 0
        seen.add(-pointer)
        return int(held.nbytes())
    size = getattr(item, "nbytes", None)
    return size if isinstance(size, int) else 0

"""How much a user may keep: bytes in their own input, output and user directories together."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from backend.storage.files import NoSpace

_FRESH_S = 10.0


class Quota:
    """`limit` in bytes; 0 for none. What lies there is counted at most every few seconds; what was let through meanwhile is added."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._counted: dict[tuple[Path, ...], tuple[float, int]] = {}
        self._lock = threading.Lock()

    def take(self, places: Sequence[Path], coming: int) -> None:
        """Let `coming` bytes through. Raises NoSpace when there would be more than the limit. Reads the disk: call it in a thread."""
        if self.limit <= 0:
            return
        key = tuple(places)
        with self._lock:
            at, used = self._counted.get(key, (-_FRESH_S, 0))
            if time.monotonic() - at >= _FRESH_S:
                at, used = time.monotonic(), sum(_size(place) for place in places)
            self._counted[key] = at, used
            if used + coming > self.limit:
                raise NoSpace(
                    f"Your files take {used / 2**20:,.1f} MB of the {self.limit / 2**20:,.1f} MB that each user may keep.",
                    hint="Remove some of your inputs, outputs or workflows, or ask for a higher --user-quota.",
                )
            self._counted[key] = at, used + coming


def _size(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except OSError:  # removed meanwhile
                continue
    return total

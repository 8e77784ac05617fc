"""What a worker is doing, in shared memory: readable after the process has died in the middle of a word.

Events wait a few milliseconds in the outbox, so those about the node that killed the process may never be written. One page of a file that
both processes map always holds the job and the node that runs.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from pathlib import Path

VARIABLE = "EMULSION_BEACON"
_SIZE = 4096
_LENGTH = struct.Struct("<I")


class Beacon:
    """`Beacon.create(path)` in the front, `Beacon.inherited()` in the worker."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, "r+b") as file:
            self._page = mmap.mmap(file.fileno(), _SIZE)

    @classmethod
    def create(cls, path: Path) -> Beacon:
        """A fresh page in this file. What a killed process left is removed first: a worker of its that is still dying writes there."""
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(_SIZE))
        return cls(path)

    @classmethod
    def inherited(cls) -> Beacon | None:
        """The page of the process that started this one, if there is one."""
        name = os.environ.get(VARIABLE)
        return cls(Path(name)) if name else None

    def set(self, job: str, node: str) -> None:
        """Say what runs now."""
        text = json.dumps((job, node)).encode()
        if len(text) <= _SIZE - _LENGTH.size:
            self._page[: len(text) + _LENGTH.size] = _LENGTH.pack(len(text)) + text

    def get(self) -> tuple[str, str] | None:
        """Job and node last set, or None."""
        (length,) = _LENGTH.unpack_from(self._page)
        if not 0 < length <= _SIZE - _LENGTH.size:
            return None
        try:
            job, node = json.loads(self._page[_LENGTH.size : _LENGTH.size + length])
        except ValueError:  # it died while it wrote
            return None
        return job, node

    def clear(self) -> None:
        """Nothing runs."""
        self._page[: _LENGTH.size] = _LENGTH.pack(0)

    def close(self) -> None:
        """Unmap and remove the file."""
        self._page.close()
        self.path.unlink(missing_ok=True)

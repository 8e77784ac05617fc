"""SHA-256 of large files, remembered by path, size and time of change."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from backend.base.errors import Problem
from backend.storage.files import write_bytes

_PIECE = 1 << 22
PATIENCE_S = 10.0


class Match(NamedTuple):
    """The name of the file that has a digest, or None; `complete` says that every file was compared."""

    name: str | None
    complete: bool


class Digests:
    """What is known is kept in a file that may be lost."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._known: dict[str, tuple[int, int, str]] | None = None

    def find(self, files: Mapping[str, Path], digest: str, patience: float = PATIENCE_S) -> Match:
        """Which of `files` (name -> path) begins its digest with `digest` (lower case). Files are read smallest first, as long as
        `patience` lasts (one that was begun is finished); a later call goes on where this one stopped."""
        with self._lock:
            end, read, waiting = time.monotonic() + patience, False, []
            for name, path in files.items():
                try:
                    stat = path.stat()
                except OSError:
                    continue
                known = self._table().get(str(path))
                if known is None or known[:2] != (stat.st_size, stat.st_mtime_ns):
                    waiting.append((stat.st_size, stat.st_mtime_ns, name, path))
                elif known[2].startswith(digest):
                    return Match(name, True)
            found = None
            for size, changed, name, path in sorted(waiting):
                if time.monotonic() > end or found is not None:
                    break
                value = _digest(path)
                if value is not None:
                    read = True
                    self._table()[str(path)] = (size, changed, value)
                    found = name if value.startswith(digest) else None
            else:
                end = float("inf")
            if read:
                self._keep()
            return Match(found, found is not None or end == float("inf"))

    def of(self, path: Path, reading: bool) -> str | None:
        """The digest of one file, None when it is not known; with `reading` the file is read then. None also when it cannot be read."""
        with self._lock:
            try:
                stat = path.stat()
            except OSError:
                return None
            known = self._table().get(str(path))
            if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
                return known[2]
            value = _digest(path) if reading else None
            if value is not None:
                self._table()[str(path)] = (stat.st_size, stat.st_mtime_ns, value)
                self._keep()
            return value

    def _table(self) -> dict[str, tuple[int, int, str]]:
        if self._known is None:
            self._known = {}
            try:
                for path, (size, changed, value) in json.loads(self.path.read_text("utf-8")).items():
                    self._known[path] = (int(size), int(changed), str(value))
            except (OSError, ValueError, TypeError, AttributeError):
                pass  # there is none, or it is damaged: files are read again
        return self._known

    def _keep(self) -> None:
        try:
            write_bytes(self.path, json.dumps(self._known).encode())
        except Problem:
            return  # it would only have saved time


def _digest(path: Path) -> str | None:
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    except OSError:
        return None
    return found.hexdigest()

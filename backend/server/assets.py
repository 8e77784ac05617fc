"""The editor's files under addresses that name their content, so that browsers may keep them for ever."""

from __future__ import annotations

import hashlib
import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

_LARGEST_HELD, _MOST_HELD = 256 << 10, 8 << 20
_OWN = re.compile(r'(?P<attribute>href|src)="(?P<path>[\w./-]+\.(?:css|js|svg))"')


class Assets:
    """One folder of files. A change to any of them gives all of them another version: modules name each other by relative paths."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: tuple[tuple[str, int, int], ...] = ()
        self._version = ""
        self._looked = -math.inf
        self._held: dict[str, bytes] = {}

    def version(self, fresh_s: float = 0.0) -> str:
        """A digest of names and contents. Files are read again only after one has changed on the disk; with `fresh_s` a look that
        is no older than that will do, since a page asks for a hundred files in a row."""
        now = time.monotonic()
        if self._version and now - self._looked < fresh_s:
            return self._version
        self._looked = now
        seen = tuple(sorted(_states(self._root)))
        if seen != self._seen or not self._version:
            digest, held, room = hashlib.blake2b(digest_size=8), {}, _MOST_HELD
            for path, _, size in seen:
                digest.update(f"{path}\0{size}\0".encode())
                try:
                    content = (self._root / path).read_bytes()
                except FileNotFoundError:
                    continue  # gone since the folder was read: the next look finds another state
                digest.update(content)
                if len(content) <= min(room, _LARGEST_HELD):
                    held[path] = content
                    room -= len(content)
            self._seen, self._held, self._version = seen, held, digest.hexdigest()
        return self._version

    def held(self, version: str, path: str, fresh_s: float) -> bytes | None:
        """A small file of this version out of memory; None when it is not held, or the last look is older than `fresh_s`."""
        if version != self._version or time.monotonic() - self._looked >= fresh_s:
            return None
        return self._held.get(path)

    def page(self, name: str) -> str:
        """A page with its own scripts, styles and icons under versioned addresses."""
        version = self.version()
        text = (self._root / name).read_text(encoding="utf-8")
        return _OWN.sub(lambda found: f'{found["attribute"]}="/assets/{version}/{found["path"]}"', text)


def _states(root: Path) -> Iterator[tuple[str, int, int]]:
    """Path below the root, time of change and size of every file."""
    for directory, _, names in os.walk(root):
        for name in names:
            path = os.path.join(directory, name)
            try:
                stat = os.stat(path)
            except FileNotFoundError:
                continue  # gone since the folder was read
            yield os.path.relpath(path, root).replace(os.sep, "/"), stat.st_mtime_ns, stat.st_size

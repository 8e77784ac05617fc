"""Files of a user (workflows, templates, small settings of packs), rooted at `user/<user>/`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.base.errors import BadInput, MissingFile, Refused
from backend.base.paths import contain, portable
from backend.storage import files


@dataclass(frozen=True, slots=True)
class Info:
    """A stored file: relative path with `/`, bytes, seconds since 1970."""

    path: str
    size: int
    modified: float
    created: float

    def json(self) -> dict[str, Any]:
        return {"path": self.path, "size": self.size, "modified": self.modified, "created": self.created}


class AlreadyThere(Refused):
    """The file exists and may not be overwritten."""


class UserFiles:
    """Every path from outside goes through `contain`, which refuses to leave the root (also through links)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def path(self, relative: str) -> Path:
        """The place of a file. Raises Refused when it would lie outside, BadInput when the name is unusable."""
        if not relative.strip("/"):
            raise BadInput("The file name is empty.", hint="Name a file below your user folder.")
        return contain(self.root, relative)

    def _new(self, relative: str) -> Path:
        """The place of a file to be written: its name must mean the same on every system. Raises Refused, BadInput."""
        path = self.path(relative)
        for piece in relative.split("/"):
            portable(piece)
        return path

    def find(self, relative: str) -> Path:
        """The place of an existing file. Raises MissingFile."""
        path = self.path(relative)
        if not path.is_file():
            raise MissingFile(f"There is no file {relative!r} in your user folder.")
        return path

    def listing(self, directory: str, recurse: bool) -> list[Info]:
        """Files below `directory`, paths relative to it. Raises MissingFile when there is no such folder."""
        base = contain(self.root, directory)
        if not base.is_dir():
            raise MissingFile(f"There is no folder {directory!r} in your user folder.")
        found = (p for p in (base.rglob("*") if recurse else base.iterdir()) if p.is_file() and not _is_part(p))
        return [_info(path, base) for path in sorted(found)]

    def tree(self, directory: str) -> list[dict[str, Any]]:
        """Everything below `directory`, folders first, for file browsers. Raises MissingFile."""
        base = contain(self.root, directory) if directory else self.root
        if not base.is_dir():
            raise MissingFile(f"There is no folder {directory!r} in your user folder.")
        folders: list[dict[str, Any]] = []
        plain: list[dict[str, Any]] = []
        for path in sorted(base.rglob("*")):
            if _is_part(path):
                continue
            relative = path.relative_to(self.root).as_posix()
            if path.is_dir():
                folders.append({"name": path.name, "path": relative, "type": "directory"})
            elif path.is_file():
                stat = path.stat()
                plain.append({"name": path.name, "path": relative, "type": "file", "size": stat.st_size, "modified": stat.st_mtime})
        return folders + plain

    def write(self, relative: str, data: bytes, overwrite: bool) -> Info:
        """Store a file atomically. Raises AlreadyThere, NoSpace, BadFile."""
        path = self._new(relative)
        if path.is_dir():
            raise BadInput(f"{relative!r} is a folder.", hint="Choose a file name.")
        if not overwrite and path.exists():
            raise AlreadyThere(f"{relative!r} exists already.", hint="Send overwrite=true, or choose another name.")
        files.write_bytes(path, data)
        return _info(path, self.root)

    def delete(self, relative: str) -> None:
        """Remove a file. Raises MissingFile."""
        self.find(relative).unlink()

    def move(self, source: str, target: str, overwrite: bool) -> Info:
        """Rename a file. Raises MissingFile, AlreadyThere."""
        old, new = self.find(source), self._new(target)
        if not overwrite and new.exists():
            raise AlreadyThere(f"{target!r} exists already.", hint="Send overwrite=true, or choose another name.")
        try:
            new.parent.mkdir(parents=True, exist_ok=True)
            os.replace(old, new)
        except OSError as error:
            raise files.explain(error, new) from error
        return _info(new, self.root)


def _is_part(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".part")


def _info(path: Path, base: Path) -> Info:
    stat = path.stat()
    return Info(path.relative_to(base).as_posix(), stat.st_size, stat.st_mtime, stat.st_ctime)

"""A directory of packs: putting packs in place, taking them out, and going back. A pack changes places with another in one step.

`.packs/` in it keeps the version before of each (`previous/<name>`) and what is pinned and where packs came from (`state.json`).
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.base.errors import MissingFile, Refused
from backend.storage.lock import DirectoryLock
from backend.storage.packs import requirements
from backend.storage.packs.requirements import Change
from backend.storage.packs.sources import OFF, Source, fetch, named, source_of

_AT_CWD, _EXCHANGE = -100, 2


@dataclass(frozen=True)
class Installed:
    """One pack. `source`: where it came from, when it was put in place here; `earlier`: whether there is a version to go back to."""

    name: str
    on: bool
    pinned: bool = False
    version: str | None = None
    source: str | None = None
    earlier: bool = False


class PackFolder:
    """Every change is refused while another is going on, and leaves the directory as it was or as it should be."""

    def __init__(self, root: Path) -> None:
        self.root, self._own = root, root / ".packs"
        self._state, self._previous = self._own / "state.json", self._own / "previous"

    def listed(self) -> list[Installed]:
        """The packs there are, switched off or not, by name."""
        known = self._read()
        rows = []
        for path in sorted(self.root.iterdir()) if self.root.is_dir() else ():
            name = path.name.removesuffix(OFF)
            if path.name.startswith((".", "__")) or not (path.is_dir() or name.endswith(".py")):
                continue
            about = known.get(name, {})
            version = _project_version(path) or str(about.get("commit") or "")[:10] or None
            earlier = (self._previous / name).exists()
            rows.append(Installed(name, path.name == name, bool(about.get("pinned")), version, about.get("source"), earlier))
        return rows

    def plan(self, source: Source) -> list[Change]:
        """What installing a pack would change in the environment. Changes nothing."""
        with self._busy() as stage:
            fetch(source, stage / source.name)
            return self._planned(stage / source.name)

    def install(self, source: Source) -> list[Change]:
        """Put a pack in place, and the packages it requires; the changes made to the environment.

        Raises Refused when the name is taken or its requirements would break the application; BadFile, MissingFile; NotInstalled when
        requirements cannot be met.
        """
        with self._busy() as stage:
            if self._find(source.name) is not None:
                raise Refused(f"There is a pack named {source.name} already.", hint="Update it instead.")
            return self._put(source, stage)

    def update(self, name: str, source: Source | None = None) -> list[Change]:
        """Replace a pack by what its source holds now; the version before is kept. Raises as `install`, and Refused when it is pinned."""
        with self._busy() as stage:
            self._there(name)
            self._not_pinned(name)
            if source is None:
                about = self._read().get(name, {})
                if not about.get("source"):
                    raise MissingFile(f"Nobody knows where the pack {name} came from.", hint="Say where the new version is.")
                index = about.get("index")
                source = source_of(Path(index), name) if index else Source(Path(about["source"]), name)
            return self._put(replace(source, name=name), stage)

    def roll_back(self, name: str) -> None:
        """Exchange a pack for its earlier version. Raises MissingFile when there is none, Refused when it is pinned."""
        with self._busy():
            home, earlier = self._there(name), self._previous / named(name)
            if not earlier.exists():
                raise MissingFile(f"There is no earlier version of the pack {name}.", hint="One is kept when a pack is updated.")
            self._not_pinned(name)
            exchange(earlier, home)

    def switch(self, name: str, on: bool) -> None:
        """Load a pack at the next start, or leave it alone. Raises MissingFile for an unknown name."""
        with self._busy():
            there, wanted = self._there(name), self.root / (name if on else name + OFF)
            if there != wanted:
                os.replace(there, wanted)

    def pin(self, name: str, on: bool) -> None:
        """Keep a pack at its version, or let it change again. Raises MissingFile."""
        with self._busy():
            self._there(name)
            self._note(name, pinned=on)

    def _put(self, source: Source, stage: Path) -> list[Change]:
        fresh = stage / source.name
        commit = fetch(source, fresh)
        changes = self._planned(fresh)
        requirements.install(changes)
        home = self._find(source.name)
        if home is None:
            os.replace(fresh, self.root / source.name)
        else:
            exchange(fresh, home)
            kept = self._previous / source.name
            self._previous.mkdir(exist_ok=True)
            if kept.exists():
                os.replace(kept, stage / "gone")
            os.replace(fresh, kept)
        path = str(source.path) if source.lasts else None
        self._note(source.name, source=path, index=None if source.index is None else str(source.index), commit=commit)
        return changes

    def _planned(self, pack: Path) -> list[Change]:
        file = pack / "requirements.txt"
        return requirements.plan(file) if file.is_file() and file.read_text("utf-8", "replace").strip() else []

    def _find(self, name: str) -> Path | None:
        return next((p for p in (self.root / named(name), self.root / (name + OFF)) if p.exists()), None)

    def _there(self, name: str) -> Path:
        found = self._find(name)
        if found is None:
            raise MissingFile(f"There is no pack named {name!r:.80}.", hint="main.py pack list names them.")
        return found

    def _not_pinned(self, name: str) -> None:
        if self._read().get(name, {}).get("pinned"):
            raise Refused(f"The pack {name} is pinned.", hint="Unpin it first.")

    @contextmanager
    def _busy(self) -> Iterator[Path]:
        """A directory for what is being made, while nobody else changes packs."""
        self._own.mkdir(parents=True, exist_ok=True)
        try:
            lock = DirectoryLock(self._own)
        except Refused as problem:
            raise Refused("Another change to the node packs is going on.", hint="Try again when it is done.") from problem
        try:
            for left in self._own.glob("staging-*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            stage = Path(tempfile.mkdtemp(prefix="staging-", dir=self._own))
            try:
                yield stage
            finally:
                shutil.rmtree(stage, ignore_errors=True)
        finally:
            lock.release()

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._state.read_text("utf-8"))
        except (OSError, ValueError):  # not there yet, or spoiled: nothing is known
            return {}
        return found if isinstance(found, dict) else {}

    def _note(self, name: str, **facts: Any) -> None:
        known = self._read()
        known[name] = {**known.get(name, {}), **facts}
        fresh = self._state.with_suffix(".new")
        with open(fresh, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self._state)


def exchange(a: Path, b: Path) -> None:
    """Two files or folders of one file system change places: in one step where the system can, else in three with a way back."""
    if sys.platform == "linux":
        rename = getattr(ctypes.CDLL(None), "renameat2", None)
        if rename is not None and rename(_AT_CWD, os.fsencode(a), _AT_CWD, os.fsencode(b), _EXCHANGE) == 0:
            return
    aside = a.with_name(a.name + ".aside")
    os.replace(b, aside)
    try:
        os.replace(a, b)
    except OSError:
        os.replace(aside, b)
        raise
    os.replace(aside, a)


def _project_version(pack: Path) -> str | None:
    try:
        found = tomllib.loads((pack / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    except (OSError, ValueError, KeyError, TypeError):  # a pack need not say
        return None
    return str(found)

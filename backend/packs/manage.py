"""Putting packs in place, taking them out, and going back: every step is one rename, so that a pack is there whole or not at all.

`custom_nodes/.previous/<name>` keeps the version before; `custom_nodes/.packs.json` what is pinned and where packs came from.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backend.base.errors import BadFile, BadInput, MissingFile, Refused
from backend.base.paths import contain
from backend.packs import requirements

MOST_BYTES = 2 << 30
MOST_FILES = 50_000
_STATE, _PREVIOUS, _OFF = ".packs.json", ".previous", ".disabled"


def listed(root: Path) -> list[dict[str, Any]]:
    """The packs of a folder: name, whether it is on, pinned, where it came from, whether there is an earlier version."""
    known = _read(root)
    rows = []
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        name = path.name.removesuffix(_OFF)
        if path.name.startswith((".", "__")) or not (path.is_dir() or name.endswith(".py")):
            continue
        about = known.get(name, {})
        earlier = (root / _PREVIOUS / name).exists()
        on = not path.name.endswith(_OFF)
        rows.append({"name": name, "on": on, "pinned": bool(about.get("pinned")), "source": about.get("source"), "earlier": earlier})
    return rows


def install(root: Path, source: Path, name: str | None = None, *, replace: bool = False, say: Callable[[str], None] = print) -> str:
    """Put a pack of a folder, zip file or git bundle in place; its name. With `replace` an earlier version is kept for `roll_back`.

    Its requirements are planned first. Raises Refused when they would break the application, when the pack is pinned or there already;
    BadFile for an archive that is damaged or leads out of its folder; NotInstalled when requirements cannot be met.
    """
    name = _name(name or source.name.removesuffix(".zip").removesuffix(".bundle"))
    home = root / name
    if home.exists() and not replace:
        raise Refused(f"There is a pack named {name} already.", hint="Update it: main.py pack update.")
    if replace and _read(root).get(name, {}).get("pinned"):
        raise Refused(f"The pack {name} is pinned.", hint=f"Let it change with: main.py pack unpin {name}.")
    root.mkdir(parents=True, exist_ok=True)
    stage = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    try:
        fresh = stage / name
        _fetch(source, fresh)
        if not (fresh / "__init__.py").is_file():
            raise BadFile(f"{source.name} is no node pack: it has no __init__.py.", hint="Name the folder that holds it.", file=source)
        _requirements(fresh, say)
        _swap(root, name, fresh)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    _note(root, name, source=str(source))
    return name


def roll_back(root: Path, name: str) -> None:
    """Exchange a pack for its earlier version. Raises MissingFile when there is none."""
    earlier = root / _PREVIOUS / _name(name)
    if not earlier.exists():
        raise MissingFile(f"There is no earlier version of the pack {name}.", hint="One is kept when a pack is updated.")
    stage = Path(tempfile.mkdtemp(prefix=".staging-", dir=root))
    try:
        os.replace(earlier, stage / name)
        _swap(root, name, stage / name)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def switch(root: Path, name: str, on: bool) -> None:
    """Load a pack at the next start, or leave it alone. Raises MissingFile for an unknown name."""
    name = _name(name)
    there, wanted = (root / (name + _OFF), root / name) if on else (root / name, root / (name + _OFF))
    if wanted.exists():
        return
    if not there.exists():
        raise MissingFile(f"There is no pack named {name}.", hint="main.py pack list names them.")
    os.replace(there, wanted)


def pin(root: Path, name: str, on: bool) -> None:
    """Keep a pack at its version, or let it be updated again. Raises MissingFile."""
    if not (root / _name(name)).exists():
        raise MissingFile(f"There is no pack named {name}.", hint="main.py pack list names them.")
    _note(root, name, pinned=on)


def from_index(file: Path, name: str) -> Path:
    """The source of a pack in an index file: JSON {"packs": [{"name", "source"}]}, sources beside it. Raises BadFile, MissingFile."""
    try:
        packs = json.loads(file.read_text("utf-8"))["packs"]
        found = next((p["source"] for p in packs if p["name"] == name), None)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadFile(f"{file.name} is no index of packs: {error}.", hint='It holds {"packs": [{"name", "source"}]}.', file=file) from error
    if found is None:
        raise MissingFile(f"The index {file.name} has no pack named {name}.", hint=f"It has {', '.join(p['name'] for p in packs)[:200]}.")
    return file.parent / str(found)


def _name(name: str) -> str:
    if not name or name.startswith((".", "_")) or any(c in name for c in '/\\\0:*?"<>|') or name.endswith(_OFF):
        raise BadInput(f"{name!r:.80} cannot be the name of a pack.", hint="Use a plain folder name.")
    return name


def _fetch(source: Path, to: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    elif zipfile.is_zipfile(source):
        _unzip(source, to)
    elif source.suffix == ".bundle" and source.is_file():
        done = subprocess.run(["git", "clone", "--quiet", str(source), str(to)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadFile(f"{source.name} is no git bundle that can be cloned.", hint=done.stderr.strip()[-200:], file=source)
    else:
        raise MissingFile(f"There is no pack at {source}.", hint="Name a folder, a zip file or a git bundle.", file=source)


def _unzip(source: Path, to: Path) -> None:
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES or sum(e.file_size for e in entries) > MOST_BYTES:
            raise BadFile(f"{source.name} unpacks to more than a pack can be.", hint="Check where it came from.", file=source)
        for entry in entries:
            if stat.S_ISLNK(entry.external_attr >> 16):
                raise BadFile(f"{source.name} holds the link {entry.filename!r:.80}.", hint="Packs hold plain files.", file=source)
            contain(to, entry.filename)
        archive.extractall(to)
    inside = list(to.iterdir())
    if len(inside) == 1 and inside[0].is_dir():  # archives of hosts have one folder around everything
        loose = to.with_name(to.name + ".inner")
        os.replace(inside[0], loose)
        to.rmdir()
        os.replace(loose, to)


def _requirements(pack: Path, say: Callable[[str], None]) -> None:
    file = pack / "requirements.txt"
    if not file.is_file() or not file.read_text("utf-8", "replace").strip():
        return
    changes = requirements.plan(file)
    for change in changes:
        say(f"  {change}")
    broken = requirements.refused(changes, requirements.own_pins())
    if broken:
        raise Refused(
            f"The pack would change what this application runs on: {', '.join(map(str, broken))}.",
            hint="Use a version of the pack with other requirements, or install it without them by hand.",
        )
    if changes:
        requirements.install(file)


def _swap(root: Path, name: str, fresh: Path) -> None:
    """`fresh` takes the place of the pack; what was there becomes the earlier version."""
    home, kept = root / name, root / _PREVIOUS / name
    kept.parent.mkdir(exist_ok=True)
    if home.exists():
        gone = fresh.parent / "gone"
        if kept.exists():
            os.replace(kept, gone)
        os.replace(home, kept)
    try:
        os.replace(fresh, home)
    except OSError:
        if kept.exists() and not home.exists():
            os.replace(kept, home)
        raise


def _read(root: Path) -> dict[str, Any]:
    try:
        found = json.loads((root / _STATE).read_text("utf-8"))
    except (OSError, ValueError):  # not there yet, or spoiled: nothing is known
        return {}
    return found if isinstance(found, dict) else {}


def _note(root: Path, name: str, **facts: Any) -> None:
    known = _read(root)
    known[name] = {**known.get(name, {}), **facts}
    handle, temporary = tempfile.mkstemp(prefix=".packs-", dir=root)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(known, file, indent=1)
    with contextlib.suppress(OSError):
        os.replace(temporary, root / _STATE)

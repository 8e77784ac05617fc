"""Where a pack comes from: a folder, a single .py file, a zip file, a git bundle, or an entry of an index file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.base.errors import BadFile, BadInput, MissingFile
from backend.base.paths import contain, portable

MOST_BYTES = 2 << 30
MOST_FILES = 50_000
OFF = ".disabled"


@dataclass(frozen=True)
class Source:
    """`path` is a file or folder on this machine; `sha256` (hexadecimal) is that of the file, None when nobody has said.

    `lasts`: whether it will be there later, for updates.
    """

    path: Path
    name: str
    sha256: str | None = None
    index: Path | None = None
    lasts: bool = True


def source_of(path: Path, name: str | None = None) -> Source:
    """What a person means by a path and perhaps a name; a .json file is an index, of which `name` is an entry. Raises BadInput, BadFile,
    MissingFile."""
    path = path.expanduser().absolute()
    if path.suffix != ".json":
        return Source(path, named(name or path.name.removesuffix(".zip").removesuffix(".bundle")))
    if name is None:
        raise BadInput(f"{path.name} is an index of packs; which one is meant?", hint="Say it with --name.")
    entries = _index(path)
    found = entries.get(name)
    if found is None:
        raise MissingFile(f"The index {path.name} has no pack named {name!r:.80}.", hint=f"It has {', '.join(entries)[:200]}.")
    at = str(found["source"])
    if "://" in at:
        raise BadFile(f"The index {path.name} names an address for {name}.", hint="Fetch the file and name it instead.", file=path)
    return Source((path.parent / at).absolute(), named(name), found.get("sha256"), path)


def _index(file: Path) -> dict[str, Any]:
    try:
        return {str(p["name"]): p for p in json.loads(file.read_text("utf-8"))["packs"] if p["source"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        hint = 'It holds {"packs": [{"name", "source", "sha256"}]}.'
        raise BadFile(f"{file.name} is no index of packs: {error}.", hint=hint, file=file) from error


def named(name: str) -> str:
    """A name that a pack can have. Raises BadInput."""
    portable(name)
    if not name or name.startswith((".", "_")) or name.endswith(OFF) or "/" in name or "\\" in name:
        raise BadInput(f"{name!r:.80} cannot be the name of a pack.", hint="Use a plain folder name.")
    return name


def fetch(source: Source, to: Path) -> str | None:
    """Copy a pack to `to`, which is not there yet; its commit, when it has one. Raises BadFile for an archive that is damaged, is not what
    the index says or leads out of its folder; MissingFile."""
    path = source.path
    if source.sha256 is not None and (not path.is_file() or _digest(path) != source.sha256.lower()):
        raise BadFile(f"{path.name} is not the file that the index describes.", hint="Fetch it again, or correct the index.", file=path)
    commit = None
    if path.is_dir():
        _copy(path, to)
    elif path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path)):
        _unzip(path, to)
    elif path.suffix == ".bundle" and path.is_file():
        commit = _clone(path, to)
    elif path.suffix == ".py" and path.is_file():
        shutil.copyfile(path, to)
        return None
    else:
        raise MissingFile(f"There is no pack at {path}.", hint="Name a folder, a .py file, a zip file or a git bundle.", file=path)
    if not (to / "__init__.py").is_file():
        raise BadFile(f"{path.name} is no node pack: it has no __init__.py.", hint="Name the folder that holds it.", file=path)
    return commit


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _copy(path: Path, to: Path) -> None:
    try:
        shutil.copytree(path, to, ignore=shutil.ignore_patterns("__pycache__", ".git"))
    except shutil.Error as error:
        raise BadFile(f"Not every file of {path.name} can be copied.", hint=str(error.args[0][:1])[:200], file=path) from error


def _unzip(path: Path, to: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            if len(entries) > MOST_FILES or sum(e.file_size for e in entries) > MOST_BYTES:
                raise BadFile(f"{path.name} unpacks to more than a pack can be.", hint="Check where it came from.", file=path)
            for entry in entries:
                if stat.S_ISLNK(entry.external_attr >> 16):
                    raise BadFile(f"{path.name} holds the link {entry.filename!r:.80}.", hint="Packs hold plain files.", file=path)
                contain(to, entry.filename)
            archive.extractall(to)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise BadFile(f"{path.name} cannot be unpacked: {error}.", hint="It is damaged or encrypted. Fetch it again.", file=path) from error
    inside = list(to.iterdir()) if to.is_dir() else []
    if len(inside) == 1 and inside[0].is_dir():  # archives of hosts have one folder around everything
        inner = to.with_name(to.name + ".inner")
        os.replace(inside[0], inner)
        to.rmdir()
        os.replace(inner, to)


def _clone(path: Path, to: Path) -> str:
    """A git bundle, without its history. Its links become plain files: nothing of a pack points out of its folder."""
    try:
        _git("-c", "core.symlinks=false", "-c", "core.hooksPath=/dev/null", "clone", "--quiet", "--", str(path), str(to))
        commit = _git("-C", str(to), "rev-parse", "HEAD").strip()
    except FileNotFoundError as error:
        raise BadFile("A git bundle needs git, which is not installed.", hint="Install git, or use a zip file.", file=path) from error
    except subprocess.CalledProcessError as error:
        raise BadFile(f"{path.name} is no git bundle that can be cloned.", hint=error.stderr.strip()[-200:], file=path) from error
    shutil.rmtree(to / ".git")
    return commit


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout

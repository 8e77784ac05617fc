"""Which published names the source of a pack uses that are not there: found by reading, so that nothing has to run to be missed."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from backend.packs.importer import is_foreign

MOST_FILES = 5000
MOST_BYTES = 4 << 20
"""Of one file; longer ones are data that ends in .py."""


def lacking(root: Path) -> dict[str, list[str]]:
    """Name -> the places ("file.py:12") that use it, for every published name that is looked up in vain. `root`: a folder or a .py file."""
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))[:MOST_FILES]
    places: dict[str, list[str]] = {}
    for file in files:
        try:
            if file.stat().st_size > MOST_BYTES:
                continue
            tree = ast.parse(file.read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):  # what cannot be read has failed at import already, or is never imported
            continue
        shown = file.name if root.is_file() else file.relative_to(root).as_posix()
        for name, line in dict(_used(tree)).items():
            places.setdefault(name, []).append(f"{shown}:{line}")
    found: dict[str, list[str]] = {}
    for name, where in places.items():
        gone = missing(name)
        if gone is not None:
            found[gone] = sorted({*found.get(gone, ()), *where})
    return dict(sorted(found.items()))


def _used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Full names below published modules. A name that the file also gives to something else is not followed."""
    alias: dict[str, str] = {}
    taken: set[str] = set()
    for item in ast.walk(tree):
        if isinstance(item, ast.Import):
            for a in item.names:
                if is_foreign(a.name):
                    alias[a.asname or a.name.partition(".")[0]] = a.name if a.asname else a.name.partition(".")[0]
                    yield a.name, item.lineno
        elif isinstance(item, ast.ImportFrom) and not item.level and item.module and is_foreign(item.module):
            for a in item.names:
                name = item.module if a.name == "*" else f"{item.module}.{a.name}"
                alias[a.asname or a.name] = name
                yield name, item.lineno
        elif isinstance(item, ast.Name) and not isinstance(item.ctx, ast.Load):
            taken.add(item.id)
        elif isinstance(item, ast.arg):
            taken.add(item.arg)
    for item in ast.walk(tree):
        if isinstance(item, ast.Attribute) and isinstance(item.ctx, ast.Load):
            parts = _parts(item)
            if parts and parts[0] in alias and parts[0] not in taken:
                yield ".".join([alias[parts[0]], *parts[1:]]), item.lineno


def _parts(item: ast.expr) -> list[str]:
    """["a", "b", "c"] of `a.b.c`; [] of anything else."""
    parts: list[str] = []
    while isinstance(item, ast.Attribute):
        parts.append(item.attr)
        item = item.value
    return [*parts, item.id][::-1] if isinstance(item, ast.Name) else []


def missing(name: str) -> str | None:
    """The shortest beginning of a name that is not there, or None. Instances are not looked into: packs keep things of their own there."""
    parts = name.split(".")
    try:
        value: object = importlib.import_module(parts[0])
    except ImportError:
        return parts[0]
    for i in range(1, len(parts)):
        if not isinstance(value, (ModuleType, type)):
            return None
        try:
            value = getattr(value, parts[i])
        except AttributeError:
            if not isinstance(value, ModuleType):
                return ".".join(parts[: i + 1])
            try:
                value = importlib.import_module(".".join(parts[: i + 1]))
            except ImportError:
                return ".".join(parts[: i + 1])
    return None

"""Results that outlive the process: files by content, for the node types that were asked for, within a budget of bytes.

A result's name is the digest of all that it depends on: the graph above it, the files it names, versions, device and dtypes, and the file
its node's code is in. So nothing ever has to be thrown away because it is wrong; what was used longest ago goes when the budget is full.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from backend.base.errors import Problem
from backend.engine.cache import Result
from backend.engine.signature import is_unique, unique
from backend.graph.document import Node
from backend.graph.registry import Registry
from backend.graph.schema import NodeType

_SUFFIX = ".safetensors"


class Persistent:
    """`describe(prompt)` says what a graph depends on besides itself; `save(path, value)` returns bytes written, `load(path)` the value.

    Both raise Problem, OSError or ValueError for what cannot be; a result then is simply not kept.
    """

    def __init__(
        self,
        folder: Path,
        budget: int,
        types: Collection[str],
        *,
        describe: Callable[[Mapping[str, Any]], Any],
        save: Callable[[Path, Any], int],
        load: Callable[[Path], Any],
    ) -> None:
        self._folder, self._budget, self.types = folder, budget, frozenset(types)
        self._describe, self._save, self._load = describe, save, load
        self._sizes: dict[str, int] = {}  # by name, those used longest ago first
        self._find()

    def _find(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        found = []
        for entry in os.scandir(self._folder):
            if entry.name.endswith(_SUFFIX) and not entry.name.startswith("."):
                about = entry.stat()
                found.append((about.st_mtime, entry.name, about.st_size))
            elif entry.name.endswith(".part"):  # of a process that was killed
                os.unlink(entry.path)
        self._sizes = {name: size for _, name, size in sorted(found)}
        self._shrink()

    def take_up(
        self, targets: Iterable[str], nodes: Mapping[str, Node], digests: Mapping[str, bytes], registry: Registry, known: Collection[str]
    ) -> dict[str, Result]:
        """Results of the graph that are kept and not yet `known`, from the targets upwards, none above another that was found."""
        found: dict[str, Result] = {}
        waiting, seen = list(targets), set(known)
        while waiting:
            id = waiting.pop()
            node = nodes.get(id)
            if id in seen or node is None:
                continue
            seen.add(id)
            name = self._name(id, nodes, digests, registry)
            result = self._read(name) if name is not None else None
            if result is None:
                waiting += node.sources
            else:
                found[id] = result
        return found

    def put(self, id: str, nodes: Mapping[str, Node], digests: Mapping[str, bytes], registry: Registry, result: Result) -> str:
        """Keep a result, if its type was asked for and it can be written. Returns why a wanted one is not kept, or ""."""
        name = self._name(id, nodes, digests, registry)
        if name is None or name in self._sizes or result.shown is not None:
            return ""
        try:
            self._sizes[name] = self._save(self._folder / name, {"outputs": result.outputs, "seconds": result.seconds})
        except (Problem, OSError, ValueError) as error:
            return f"Its result is not kept on disk: {error}."
        self._shrink()
        return ""

    def _name(self, id: str, nodes: Mapping[str, Node], digests: Mapping[str, bytes], registry: Registry) -> str | None:
        """The file of a node's result; None for types that are not kept and results that equal no other."""
        node, digest = nodes[id], digests.get(id) or unique()
        t = registry.get(node.type)
        if node.type not in self.types or t is None or t.is_personal or is_unique(digest):
            return None
        above = _above(id, nodes)
        about = [
            digest.hex(),
            self._describe({one: nodes[one].raw for one in above}),
            sorted({_code(registry, nodes[one]) for one in above}),
        ]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest() + _SUFFIX

    def _read(self, name: str) -> Result | None:
        if name not in self._sizes:
            return None
        path = self._folder / name
        try:
            value = self._load(path)
            self._sizes[name] = self._sizes.pop(name)
            os.utime(path, (time.time(),) * 2)
            return Result(value["outputs"], None, value["seconds"])
        except (Problem, OSError, ValueError, KeyError, TypeError):  # gone or damaged: it is made again
            self._sizes.pop(name, None)
            path.unlink(missing_ok=True)
            return None

    def _shrink(self) -> None:
        total = sum(self._sizes.values())
        while total > self._budget and self._sizes:
            name = next(iter(self._sizes))
            total -= self._sizes.pop(name)
            (self._folder / name).unlink(missing_ok=True)


def _above(id: str, nodes: Mapping[str, Node]) -> list[str]:
    """A node and all it depends on, in an order that the document alone decides."""
    found: dict[str, None] = {}
    waiting = [id]
    while waiting:
        one = waiting.pop()
        if one not in found and one in nodes:
            found[one] = None
            waiting += nodes[one].sources
    return sorted(found)


def _code(registry: Registry, node: Node) -> str:
    """The file that a node's code is in, as it is now."""
    t: NodeType | None = registry.get(node.type)
    module = sys.modules.get(getattr(t.instance_of or t.run, "__module__", "") if t is not None else "")
    path = getattr(module, "__file__", None)
    try:
        about = os.stat(path) if path else None
    except OSError:
        about = None
    return f"{node.type} {about.st_size} {about.st_mtime_ns}" if about is not None else node.type

"""One node pack: what it offers, or why it could not be loaded."""

from __future__ import annotations

import asyncio
import inspect
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from backend.base.errors import NotInstalled, Problem
from backend.base.paths import contain
from backend.graph.declare import declared
from backend.graph.schema import NodeType
from backend.packs import v1, v3


@dataclass
class Pack:
    """`name` is the folder's name (or the file's, without .py). `error` None: it was imported. `faults`: nodes that could not be read."""

    name: str
    path: Path
    seconds: float = 0.0
    error: str | None = None
    traceback: str = ""
    types: list[NodeType] = field(default_factory=list)
    classes: dict[str, Any] = field(default_factory=dict)
    """The classes that types were read from, by their id."""
    faults: dict[str, str] = field(default_factory=dict)
    missing: str | None = None
    """The module that the pack wanted and that is not installed."""
    wanted: list[str] = field(default_factory=list)
    """Names of the application's published modules that were asked for and are not there."""
    replaced: list[str] = field(default_factory=list)
    """What it replaced in the application's own modules, and was put back."""
    web: Path | None = None
    web_name: str = ""

    def to_json(self) -> dict[str, Any]:
        """What the front needs to know."""
        return {
            "name": self.name,
            "path": str(self.path),
            "seconds": round(self.seconds, 3),
            "error": self.error,
            "traceback": self.traceback,
            "missing": self.missing,
            "wanted": self.wanted,
            "replaced": self.replaced,
            "nodes": [t.id for t in self.types],
            "faults": self.faults,
            "web": None if self.web is None else str(self.web),
            "web_name": self.web_name,
        }

    def take(self, module: ModuleType) -> None:
        """Read what the imported module offers. Raises NotInstalled when that is nothing."""
        mappings = getattr(module, "NODE_CLASS_MAPPINGS", None)
        own = declared(vars(module))
        entry = getattr(module, "comfy_entrypoint", None)
        if mappings is None and not own and entry is None:
            raise NotInstalled(
                f"The pack {self.name} offers no nodes: it has neither NODE_CLASS_MAPPINGS, nor comfy_entrypoint, nor declared nodes.",
                hint="Remove it or update it.",
            )
        self.types = own
        if mappings is None and entry is not None:
            for cls in asyncio.run(_node_list(entry)):
                self._take_schema(cls)
        titles = getattr(module, "NODE_DISPLAY_NAME_MAPPINGS", None) or {}
        for id, cls in (mappings or {}).items():
            self._take_class(str(id), cls, titles.get(id))
        self._take_web(module)

    def _take_schema(self, cls: Any) -> None:
        try:
            made = v3.node_type(cls, module=f"custom_nodes.{self.name}")
            self.types.append(made)
            self.classes[made.id] = cls
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; this node is left out and its fault recorded
            self._fault(getattr(cls, "__name__", str(cls)), error)

    def _fault(self, id: str, error: BaseException) -> None:
        self.faults[id] = str(error) if isinstance(error, Problem) else f"{type(error).__name__}: {error}"

    def _take_class(self, id: str, cls: Any, title: Any) -> None:
        module = f"custom_nodes.{self.name}"
        try:
            if isinstance(getattr(cls, "node_type", None), NodeType):
                self.types.append(cls.node_type)
                return
            if v3.is_schema_node(cls):
                self._take_schema(cls)
                return
            cls.RELATIVE_PYTHON_MODULE = module
            self.types.append(v1.node_type(id, cls, title=None if title is None else str(title), module=module))
            self.classes[id] = cls
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; this node is left out and its fault recorded
            self._fault(id, error)

    def _take_web(self, module: ModuleType) -> None:
        """The directory of scripts for the editor: WEB_DIRECTORY, else the one the pack's pyproject names."""
        relative = getattr(module, "WEB_DIRECTORY", None)
        self.web_name = self.name
        if not relative and self.path.is_dir():
            project = _pyproject(self.path)
            relative = project.get("tool", {}).get("comfy", {}).get("web")
            self.web_name = str(project.get("project", {}).get("name") or self.name)
        if relative:
            root = self.path if self.path.is_dir() else self.path.parent
            try:
                directory = contain(root, str(relative))
            except Problem as problem:
                self.faults["WEB_DIRECTORY"] = str(problem)
                return
            self.web = directory if directory.is_dir() else None
            return
        for name, directory in _added_web_directories():
            if self.path.is_dir() and directory.is_dir() and directory.resolve().is_relative_to(self.path.resolve()):
                self.web, self.web_name = directory, name


def _added_web_directories() -> list[tuple[str, Path]]:
    """What packs have put into `nodes.EXTENSION_WEB_DIRS`: names and directories."""
    added = vars(sys.modules["nodes"]).get("EXTENSION_WEB_DIRS", {}) if "nodes" in sys.modules else {}
    return [(str(name), Path(str(directory))) for name, directory in added.items()]


async def _node_list(entry: Any) -> list[Any]:
    """The node classes behind a `comfy_entrypoint`, which may be async."""
    extension = entry()
    if inspect.isawaitable(extension):
        extension = await extension
    if callable(getattr(extension, "on_load", None)):
        await extension.on_load()
    listed = extension.get_node_list()
    return list(await listed if inspect.isawaitable(listed) else listed)


def _pyproject(folder: Path) -> dict[str, Any]:
    try:
        return tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):  # absent or not readable: the pack has no such settings
        return {}

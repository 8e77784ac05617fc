"""Foreign module names, answered from `shims/`. Only a process that loads packs installs this.

A shim is imported under its foreign name when somebody asks for it, not before. Names that are not there are noted, so that a
person can be told what a pack wanted.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from backend.packs.host import HOST

SHIMS = Path(__file__).parent / "shims"
STRONG = frozenset(
    {"comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras", "comfyui_version", "execution",
     "folder_paths", "latent_preview", "node_helpers", "protocol", "server"}
)  # fmt: skip
"""Names answered here whatever else the search path holds."""
_EXTRA = re.compile(r"comfy_extras\.(nodes_\w+)")


def _file(name: str) -> Path | None:
    """The source of a shim, or None."""
    file = SHIMS.joinpath(*name.split("."))
    if (file / "__init__.py").is_file():
        return file / "__init__.py"
    return file.with_suffix(".py") if file.with_suffix(".py").is_file() else None


def _is_shelf(name: str) -> bool:
    """Whether built-in node types are published under that module name."""
    if _EXTRA.fullmatch(name) is None:
        return False
    from backend.packs.core_nodes import shelf_ids

    return name in shelf_ids()


class ForeignModule(ModuleType):
    """A module that notes what was looked up in it in vain."""

    def __getattr__(self, name: str) -> Any:
        full = f"{self.__name__}.{name}"
        if not name.startswith("__") and _file(full) is None and not _is_shelf(full):  # a module below is looked up before it is imported
            HOST.want(full)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} here", name=name, obj=self)


class _ShimLoader(importlib.machinery.SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        if "__getattr__" not in vars(module):
            module.__class__ = ForeignModule


class _ShelfLoader(Loader):
    """`comfy_extras.nodes_x` made of the built-in node types that are listed there."""

    def __init__(self, id: str) -> None:
        self.id = id

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        from backend.packs.core_nodes import Shelf

        module.__dict__["__getattr__"] = Shelf(self.id, module)


class Finder(MetaPathFinder):
    """Answers for the foreign names."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname.partition(".")[0] not in STRONG:
            return None
        file = _file(fullname)
        if file is not None:
            return self._spec(fullname, file, [str(file.parent)] if file.name == "__init__.py" else None)
        if _is_shelf(fullname):
            return ModuleSpec(fullname, _ShelfLoader(fullname))
        HOST.want(fullname)
        return None

    @staticmethod
    def _spec(name: str, file: Path, search: list[str] | None) -> ModuleSpec | None:
        return importlib.util.spec_from_file_location(name, file, loader=_ShimLoader(name, str(file)), submodule_search_locations=search)


def install() -> None:
    """Answer foreign names from now on in this process. Doing it twice changes nothing."""
    if any(isinstance(f, Finder) for f in sys.meta_path):
        return
    sys.meta_path.insert(0, Finder())
    from backend.packs.core_nodes import extend_nodes

    extend_nodes()


def uninstall() -> None:
    """Take the names away again, and the modules that answered to them; for tests."""
    sys.meta_path[:] = [f for f in sys.meta_path if not isinstance(f, Finder)]
    for name in [n for n in sys.modules if n.partition(".")[0] in STRONG]:
        del sys.modules[name]


def is_foreign(name: str) -> bool:
    """Whether a module name is one of those answered here."""
    return name.partition(".")[0] in STRONG or name == "nodes"

"""The application's own modules as they were before packs came: what a pack replaces in them is put back, and named.

The published modules (`nodes`, `comfy` ...) are not watched: packs change those on purpose.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

_OWN = ("backend.", "nodes.")
_BASIS = ("builtins", "json", "os", "time", "struct", "pathlib", "importlib")
_QUIET = ("__dict__", "__doc__", "__builtins__", "__cached__", "__warningregistry__")


class Guard:
    """Made before the first pack is imported."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[ModuleType, dict[str, Any]]] = {}
        self._look()

    def mend(self) -> list[str]:
        """Undo what was replaced or deleted since; its names. What was added stays: it is in nobody's way."""
        replaced = []
        for name, (module, before) in self._before.items():
            now = vars(module)
            for key, value in before.items():
                if now.get(key, _QUIET) is not value and key not in _QUIET:
                    setattr(module, key, value)
                    replaced.append(f"{name}.{key}")
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                replaced.append(name)
        self._look()
        return replaced

    def _look(self) -> None:
        for name, module in list(sys.modules.items()):
            if name not in self._before and isinstance(module, ModuleType) and (name.startswith(_OWN) or name in _BASIS):
                self._before[name] = (module, dict(vars(module)))

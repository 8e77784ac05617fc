"""Packs share a process with the application's own modules. What one replaces in them is put back, and named.

The published modules (`nodes`, `comfy` ...) are not watched: packs change those on purpose.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any

_OWN = ("backend.", "nodes.")
_BASIS = ("builtins", "json", "os", "time", "struct", "pathlib", "importlib")
_QUIET = ("__dict__", "__doc__", "__builtins__", "__cached__", "__warningregistry__")


class Guard:
    """Made before the first pack is imported; knows the modules that are there then, and others from the first look after their import."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._modules: dict[str, ModuleType] = {}
        self._before: dict[str, _Kept] = {}
        self._place = os.getcwd()
        self._look()

    def mend(self) -> list[str]:
        """Undo what was replaced or deleted since; its names. What was added stays: it is in nobody's way."""
        replaced = [f"{name}.{key}" for name, kept in self._changed() for key in kept.mend()]
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                replaced.append(name)
        replaced += self._mend_process()
        self._look()
        return replaced

    def _changed(self) -> Iterator[tuple[str, _Kept]]:
        """Nearly nothing. What is there still is passed over by identity, so comparing costs next to nothing."""
        for name, kept in self._before.items():
            try:
                if kept.now == kept.held:
                    continue
            except Exception:  # noqa: BLE001, S110 - a value of a pack's own that cannot be compared: it was not there before
                pass
            yield name, kept

    def _mend_process(self) -> Iterator[str]:
        """The working directory, by which files on the command line are found, and what torch makes of numbers that do not say."""
        if _working_directory() != self._place:
            os.chdir(self._place)
            yield "the working directory"
        torch = sys.modules.get("torch")
        if torch is None:
            return
        if torch.get_default_dtype() != torch.float32:
            torch.set_default_dtype(torch.float32)
            yield "torch's default dtype"
        if torch.get_default_device().type != "cpu":
            torch.set_default_device(None)
            yield "torch's default device"
        if not torch.is_grad_enabled():
            torch.set_grad_enabled(True)
            yield "torch's gradients"

    def _look(self) -> None:
        new = [(name, module) for name, module in list(sys.modules.items()) if name not in self._seen]
        self._seen.update(name for name, _ in new)
        for name, module in new:
            if not (name.startswith(_OWN) or name in _BASIS) or not isinstance(module, ModuleType):
                continue
            self._modules[name] = module
            self._before[name] = _Kept(vars(module), module)
            if name.startswith(_OWN):
                for own in [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name]:
                    self._before[f"{name}.{own.__qualname__}"] = _Kept(vars(own), own)


class _Kept:
    """What a module or a class `held`. `now`: what it holds at any time."""

    __slots__ = ("_of", "held", "now")

    def __init__(self, now: Mapping[str, Any], of: Any) -> None:
        self.now, self.held, self._of = now, dict(now), of

    def mend(self) -> list[str]:
        replaced = []
        for key, value in self.held.items():
            if self.now.get(key, _QUIET) is not value and key not in _QUIET:
                setattr(self._of, key, value)
                replaced.append(key)
        self.held = dict(self.now)
        return replaced


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # a pack went into a directory of its own and removed it
        return None

"""Packs share a process with the application's own modules. What one replaces in them is put back, and named.

The published modules (`nodes`, `comfy` ...) are not watched: packs change those on purpose.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from operator import attrgetter
from types import ModuleType
from typing import Any

_OWN = ("backend.", "nodes.")
_BASIS = ("builtins", "json", "os", "time", "struct", "pathlib", "importlib")
_QUIET = ("__dict__", "__doc__", "__builtins__", "__cached__", "__warningregistry__")
_VERSION_AT = 24  # bytes into a dict: after its reference count, its type and its length
_version_of = attrgetter("version.value")


class Guard:
    """Made before the first pack is imported; knows the modules that are there then, and others from the first look after their import."""

    def __init__(self) -> None:
        self._seen: set[str] = set()
        self._modules: dict[str, ModuleType] = {}
        self._before: list[_Kept] = []
        self._versions: list[int] = []
        self._place = os.getcwd()
        self._look()

    def mend(self) -> list[str]:
        """Undo what was replaced or deleted since; its names. What was added stays: it is in nobody's way."""
        replaced = [f"{kept.name}.{key}" for kept in self._written() for key in kept.mend()]
        for name, module in self._modules.items():
            if sys.modules.get(name) is not module:
                sys.modules[name] = module
                replaced.append(name)
        replaced += self._mend_process()
        self._look()
        return replaced

    def _written(self) -> list[_Kept]:
        """What was written to: nearly nothing of more than a thousand modules and classes, which are looked at once for each pack."""
        if not _VERSIONED:
            return self._before
        now = list(map(_version_of, self._before))
        return [] if now == self._versions else [kept for kept, a, b in zip(self._before, self._versions, now, strict=True) if a != b]

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
        new = set(sys.modules) - self._seen
        self._seen |= new
        for name in sorted(new):
            module = sys.modules.get(name)
            if not (name.startswith(_OWN) or name in _BASIS) or not isinstance(module, ModuleType):
                continue
            self._modules[name] = module
            self._before.append(_Kept(name, module))
            if name.startswith(_OWN):
                classes = [v for v in vars(module).values() if isinstance(v, type) and v.__module__ == name]
                self._before += [_Kept(f"{name}.{own.__qualname__}", own) for own in classes]
        self._versions = list(map(_version_of, self._before)) if _VERSIONED else []


class _Kept:
    """What a module or a class holds, and held."""

    __slots__ = ("_held", "_now", "_of", "name", "version")

    def __init__(self, name: str, of: Any) -> None:
        self.name, self._of = name, of
        self._now = _dict_of(of)
        self._held = self._now.copy()
        self.version = _version(self._now)

    def mend(self) -> list[str]:
        """Put back what was replaced or deleted: what it is called."""
        try:
            if self._now == self._held:  # what is there still is passed over by identity
                return []
        except Exception:  # noqa: BLE001, S110 - a value of a pack's own that cannot be compared: it was not there before
            pass
        replaced = []
        for key, value in self._held.items():
            if self._now.get(key, _QUIET) is not value and key not in _QUIET:
                setattr(self._of, key, value)
                replaced.append(key)
        self._held = self._now.copy()
        return replaced


def _dict_of(of: Any) -> dict[str, Any]:
    """The dict behind a module, or behind the view that a class gives of its own."""
    held = vars(of)
    return held if isinstance(held, dict) else next(each for each in gc.get_referents(held) if isinstance(each, dict))


def _version(of: dict[str, Any]) -> ctypes.c_uint64:
    """Where CPython numbers the states of a dict (PEP 509): another number means that it was written to."""
    return ctypes.c_uint64.from_address(id(of) + _VERSION_AT)


def _are_versioned() -> bool:
    """Whether this interpreter does; later ones need not. Where it does not, everything is compared each time."""
    if sys.implementation.name != "cpython":
        return False
    trial: dict[str, Any] = dict.fromkeys("abc")
    version = _version(trial)
    numbers = [version.value]
    for act in (lambda: trial.update(a=1), lambda: trial.pop("b"), lambda: trial.update(d=1), lambda: trial.update(a=2)):
        act()
        numbers.append(version.value)
    return len(set(numbers)) == len(numbers) and version.value == numbers[-1]


_VERSIONED = _are_versioned()


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # a pack went into a directory of its own and removed it
        return None

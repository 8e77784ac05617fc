"""Import each entry of the custom_nodes directories. A pack that fails harms only itself."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType

from backend.base.config import ROOT, Settings
from backend.base.paths import Folders
from backend.graph.schema import NodeType
from backend.packs.core_nodes import builtin_types
from backend.packs.guard import Guard
from backend.packs.host import HOST
from backend.packs.importer import is_foreign
from backend.packs.pack import Pack

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """All packs, and the node types of those that could be imported (of two types with one name the later wins)."""

    packs: list[Pack]

    @property
    def types(self) -> list[NodeType]:
        return list({t.id: t for p in self.packs for t in p.types}.values())


def entries(folders: Folders, settings: Settings) -> Iterator[Path]:
    """The folders and .py files that are packs, as the file system lists them; only the allowed ones where packs are switched off."""
    for root in folders.custom_nodes:
        try:
            names = os.listdir(root)
        except OSError:  # no such directory: no packs there
            continue
        for name in names:
            path = root / name
            if name == "__pycache__" or name.startswith(".") or name.endswith(".disabled"):
                continue
            if not path.is_dir() and path.suffix != ".py":
                continue
            if settings.custom_nodes or name in settings.whitelist or path.stem in settings.whitelist:
                yield path.absolute()


def run_prestartup(
    folders: Folders, settings: Settings, without: Container[str] = (), tell: Callable[[str], None] = lambda name: None
) -> list[Pack]:
    """Execute every pack's prestartup_script.py, before torch is imported. Returns the packs whose script failed.

    `without`: names of packs to leave out. `tell` hears the name of each pack before its code runs.
    """
    ran = []
    guard = Guard()
    for path in entries(folders, settings):
        if name_of(path) not in without and prestartup_script(path).is_file():
            tell(name_of(path))
            ran.append(prestart(path))
            _mend(name_of(path), guard)
    return [pack for pack in ran if pack is not None]


def prestartup_script(path: Path) -> Path:
    """Where a pack would have the script that runs before torch is imported; beside a pack that is one file there is none."""
    return path / "prestartup_script.py"


def hold_pins() -> None:
    """Some packs call pip as they are imported: have it refuse what would change the packages this application is pinned to."""
    for variable in ("PIP_CONSTRAINT", "UV_CONSTRAINT"):
        os.environ.setdefault(variable, str(ROOT / "requirements.txt"))


def prestart(path: Path) -> Pack | None:
    """Execute the prestartup_script.py of one pack, if it has one. Returns the pack when that failed."""
    script = prestartup_script(path)
    if not script.is_file():
        return None
    pack = Pack(path.name, path)
    try:
        _execute("custom_node_prestartup_" + path.name.replace(".", "_x_"), script, None)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything; startup goes on
        _note(pack, error)
        log.error("The prestartup script of %s failed:\n%s", path, pack.traceback)
        return pack
    return None


def load_packs(
    folders: Folders,
    settings: Settings,
    without: Mapping[str, str] = MappingProxyType({}),
    tell: Callable[[str], None] = lambda name: None,
    done: Callable[[Pack], None] = lambda pack: None,
) -> Loaded:
    """Import all packs. Never raises for a pack's fault: it is in the pack's `error`, and logged with a timing list at the end.

    `without`: packs to leave out, and why. `tell` hears the name of each pack before its code runs, `done` of each that was tried.
    """
    packs: list[Pack] = []
    found = list(entries(folders, settings))
    if not found:
        return Loaded(packs)
    builtin_types()  # imported before packs can change them, and watched
    guard = Guard()
    for path in found:
        name = name_of(path)
        if name in without:
            packs.append(Pack(name, path, error=without[name]))
            continue
        tell(name)
        packs.append(load_pack(path, guard))
        done(packs[-1])
    rows = sorted(packs, key=lambda p: p.seconds)
    shown = "\n".join(f"{p.seconds:6.1f} seconds{' (IMPORT FAILED)' if p.error else ''}: {p.path}" for p in rows)
    log.info("\nImport times for custom nodes:\n%s\n", shown)
    return Loaded(packs)


def _mend(pack: str, guard: Guard) -> list[str]:
    """Put back what a pack has replaced, and say so."""
    replaced = guard.mend()
    if replaced:
        log.warning("The pack %s replaced %s; it was put back.", pack, ", ".join(replaced))
    return replaced


def name_of(path: Path) -> str:
    """The name of a pack: that of its folder, or of its file without .py."""
    return path.stem if path.is_file() else path.name


def module_name(path: Path) -> str:
    """The name under which a pack is imported: its path, in which dots would mean packages."""
    return str(path).replace(".", "_x_") if path.is_dir() else str(path.with_suffix(""))


def load_pack(path: Path, guard: Guard | None = None) -> Pack:
    """Import one pack. Never raises for its fault. `guard`: what it replaces in our modules is put back."""
    pack = Pack(name_of(path), path)
    began = time.perf_counter()
    HOST.loading = pack.name
    try:
        file = path / "__init__.py" if path.is_dir() else path
        try:
            module = _execute(module_name(path), file, [str(path)] if path.is_dir() else None)
        finally:
            pack.replaced = _mend(pack.name, guard) if guard is not None else []
        pack.take(module)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code may raise anything; the other packs load
        pack.types = []
        _note(pack, error)
        log.error("%s\nCannot import %s module for custom nodes: %s", pack.traceback, path, error)
    for id, fault in pack.faults.items():
        log.warning("%s of the pack %s is left out: %s", id, pack.name, fault)
    HOST.loading = None
    pack.wanted = sorted(name for name, packs in HOST.wanted.items() if pack.name in packs)
    pack.seconds = time.perf_counter() - began
    return pack


def _execute(name: str, file: Path, search: list[str] | None) -> ModuleType:
    """Import a file under a name. On failure nothing of it stays among the imported modules."""
    spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, so that its relative imports work
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    return module


def _note(pack: Pack, error: BaseException) -> None:
    pack.error = f"{type(error).__name__}: {error}"
    pack.traceback = "".join(traceback.format_exception(error))
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return
    if is_foreign(error.name):
        pack.error = f"It asks for {error.name!r}, which this application does not offer to packs."
    else:
        pack.missing = error.name.partition(".")[0]
        pack.error = f"It needs the Python package that provides {pack.missing!r}, which is not installed."

"""Imports only go down the floors, and the front never drags torch in. Read from the source; needs no dependency."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [  # top to bottom; rooms on one floor do not know each other
    {"main"},
    {"cli"},
    {"front", "worker"},
    {"packs", "server", "workers"},
    {"nodes"},
    {"control", "adapters"},
    {"families"},
    {"codecs", "encoders", "engine"},
    {"diffusion", "imaging", "media"},
    {"memory"},  # the pool hangs weights under the layers of nn
    {"nn", "workflow"},
    {"weights", "graph", "storage"},
    {"base"},
]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_TORCH = ("base", "graph", "workflow", "engine", "storage", "server", "workers")


def room_of_file(path: Path) -> str | None:
    parts = path.relative_to(ROOT).parts
    if parts[0] == "main.py":
        return "main"
    if parts[0] == "nodes":
        return "nodes"
    if parts[0] == "backend":
        return parts[1].removesuffix(".py")
    return None


def room_of_module(name: str) -> str | None:
    parts = name.split(".")
    if parts[0] == "nodes":
        return "nodes"
    if parts[0] == "backend" and len(parts) > 1:
        return parts[1]
    return None


def imports(path: Path) -> list[tuple[str, int]]:
    """Every imported module of a file with its line, wherever in the file the import stands. Type-only imports count too."""
    found: list[tuple[str, int]] = []
    for item in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(item, ast.Import):
            found += [(a.name, item.lineno) for a in item.names]
        elif isinstance(item, ast.ImportFrom):
            base = item.module or ""
            if item.level:
                package = path.relative_to(ROOT).with_suffix("").parts[: -item.level]
                base = ".".join([*package, *([base] if base else [])])
            found.append((base, item.lineno))
            if base == "backend":
                found += [(f"backend.{a.name}", item.lineno) for a in item.names]
    return found


def sources() -> list[Path]:
    files = [ROOT / "main.py"] if (ROOT / "main.py").exists() else []
    return files + [p for top in ("backend", "nodes") for p in sorted((ROOT / top).rglob("*.py")) if "shims" not in p.parts]


def test_every_room_has_a_floor() -> None:
    rooms = {r for p in sources() if (r := room_of_file(p)) is not None and p.name != "__init__.py"} - {"__init__"}
    assert rooms <= LEVEL.keys(), f"give these rooms a floor: {sorted(rooms - LEVEL.keys())}"


def test_imports_only_go_down() -> None:
    wrong = []
    for path in sources():
        here = room_of_file(path)
        if here not in LEVEL:
            continue
        for module, line in imports(path):
            there = room_of_module(module)
            if there is None or there == here or there not in LEVEL:
                continue
            if LEVEL[there] <= LEVEL[here]:
                wrong.append(f"{path.relative_to(ROOT)}:{line} ({here}) imports {module} ({there})")
    assert not wrong, "\n".join(wrong)


def test_the_rule_itself_sees_an_upward_import(tmp_path: Path) -> None:
    probe = ROOT / "backend" / "base" / "errors.py"
    assert room_of_file(probe) == "base"
    source = "def f():\n    from backend.engine.cache import Result\n    import backend.graph.schema\n"
    file = tmp_path / "x.py"
    file.write_text(source)
    found = [(room_of_module(m), line) for m, line in imports_of_text(source)]
    assert found == [("engine", 2), ("graph", 3)]
    assert all(LEVEL[r] < LEVEL["base"] for r, _ in found if r)


def imports_of_text(text: str) -> list[tuple[str, int]]:
    nodes = list(ast.walk(ast.parse(text)))
    named = [(n.module or "", n.lineno) for n in nodes if isinstance(n, ast.ImportFrom)]
    return named + [(a.name, n.lineno) for n in nodes if isinstance(n, ast.Import) for a in n.names]


def test_no_torch_in_the_sources_of_the_front() -> None:
    named = []
    for path in sources():
        if room_of_file(path) in WITHOUT_TORCH or path.name == "front.py":
            named += [
                f"{path.relative_to(ROOT)}:{line}" for m, line in imports(path) if m.split(".")[0] in ("torch", "numpy", "transformers")
            ]
    assert not named, "\n".join(named)


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_importing_a_front_room_does_not_import_torch(room: str) -> None:
    files = [p for p in sorted((ROOT / "backend" / room).rglob("*.py")) if "shims" not in p.parts]
    modules = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in files]
    assert modules
    code = (
        "import importlib, sys\nfor m in sys.argv[1:]: importlib.import_module(m)\n"
        "sys.exit(sum(m in sys.modules for m in ('torch', 'numpy')))"
    )
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr or "torch or numpy was imported"

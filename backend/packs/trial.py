"""Try one pack in this process and say what came of it, as JSON on standard output. Started by `main.py pack test`."""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from backend.base.config import Settings


def trial(path: Path) -> dict[str, Any]:
    """Load the pack at `path` (a folder or a .py file), look at every node, and read its source for names that are not there."""
    from backend.engine.context import Services
    from backend.packs import importer
    from backend.packs.guard import Guard
    from backend.packs.host import HOST
    from backend.packs.loader import hold_pins, load_pack, prestart

    with tempfile.TemporaryDirectory(prefix="emulsion-pack-test-") as home:
        settings = Settings(base_directory=Path(home), memory="cpu")
        folders = settings.folders()
        folders.create()
        services = HOST.services = Services(folders=folders, settings=settings)
        importer.install()
        hold_pins()
        stumbled = prestart(path)
        import torch

        from backend.memory.device import probe
        from backend.memory.pool import Pool
        from backend.packs.complete import complete
        from backend.packs.core_nodes import builtin_types
        from backend.packs.scan import lacking

        services.device, services.pool = probe(settings), Pool(torch.device("cpu"))
        builtin_types()  # imported before the pack can change them, and watched, as the executor is
        importlib.import_module("backend.engine.executor")
        pack = load_pack(path, Guard())
        complete(pack.types)
        lacks = lacking(path)
        routes = sys.modules["server"].PromptServer.instance.routes if "server" in sys.modules else ()
        return {
            **pack.to_json(),
            "prestartup": None if stumbled is None else stumbled.error,
            "nodes": [_node(t, pack.classes.get(t.id), builtin_types()) for t in pack.types],
            "wanted": sorted({*HOST.wanted, *lacks}),
            "places": lacks,
            "routes": [f"{r.method} {r.path}" for r in routes if hasattr(r, "path")],
            "scripts": sorted(p.relative_to(pack.web).as_posix() for p in pack.web.rglob("*.js")) if pack.web is not None else [],
        }


def _node(t: Any, cls: Any, core: Any) -> dict[str, Any]:
    from backend.graph.describe import object_info
    from backend.packs.core_nodes import choices
    from backend.packs.remarks import remarks

    info = object_info(t, choices)
    try:
        said = list(remarks(t, cls))
    except Exception as error:  # noqa: BLE001 - its classes may answer to questions in any way
        said = [f"It cannot be looked at: {type(error).__name__}: {error}."]
    try:
        json.dumps(info, allow_nan=False)
    except (TypeError, ValueError) as error:
        said.append(f"Its description is no JSON: {error}.")
    inputs = [name for group in ("required", "optional") for name in info["input"].get(group, {})]
    return {
        "id": t.id, "title": t.title, "form": t.form, "inputs": inputs, "outputs": list(map(str, info["output"])), "taken": t.id in core,
        "remarks": said,
    }  # fmt: skip


def main(argv: list[str]) -> None:
    """Whatever the pack prints goes to standard error; the report is the only thing on standard output."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    report = trial(Path(argv[0]))
    out.write(json.dumps(report))
    out.flush()
    os._exit(0)  # threads of the pack would keep the process


if __name__ == "__main__":
    main(sys.argv[1:])

"""Thirty packs with a thousand nodes: how much later the worker is ready than without them, beside the time their own code takes to import;
what the front does meanwhile; and how long the descriptions of all nodes take to fetch.

`python -m benchmarks.pack_loading [REPEATS]`.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from benchmarks.front_start import answer, compiled, start, until
from benchmarks.server import cpu_seconds
from benchmarks.table import Row, report

PACKS, NODES = 30, 1000
LINES = 400  # of each pack's other code
HEAD = """
import json, math, random
import comfy.utils, folder_paths, numpy, torch
from PIL import Image
from nodes import MAX_RESOLUTION
from .code import *
NODE_CLASS_MAPPINGS = {}
"""
NODE = """
class Pack{pack}Node{n}:
    CATEGORY, FUNCTION, RETURN_TYPES, RETURN_NAMES = "bench/{pack}", "run", ("IMAGE", "MASK", "INT"), ("image", "mask", "count")
    DESCRIPTION = "Node {n} of pack {pack}, with as many inputs as such nodes have."
    @classmethod
    def INPUT_TYPES(cls):
        side = {{"default": 512, "min": 1, "max": MAX_RESOLUTION, "step": 8}}
        return {{
            "required": {{
                "image": ("IMAGE", {{"tooltip": "What is changed."}}), "width": ("INT", side), "height": ("INT", side),
                "amount": ("FLOAT", {{"default": 1.0, "min": 0.0, "max": 10.0}}),
                "method": (["nearest", "bilinear", "bicubic", "area", "lanczos"], {{"default": "area"}}),
                "file": (folder_paths.get_filename_list("loras"),),
                "text": ("STRING", {{"multiline": True, "default": "words"}}), "flag": ("BOOLEAN", {{"default": True}}),
            }},
            "optional": {{"mask": ("MASK",), "seed": ("INT", {{"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF}})}},
            "hidden": {{"prompt": "PROMPT", "me": "UNIQUE_ID"}},
        }}
    def run(self, image, **more):
        return (image, None, 0)
NODE_CLASS_MAPPINGS["Pack{pack}Node{n}"] = Pack{pack}Node{n}
"""
FUNCTION = "def f{i}(x, y={i}):\n    return [x * y + k for k in range({i})]\n\n"
OWN = """
import importlib.util, os, sys, time
from pathlib import Path
from backend.base.config import Settings
from backend.engine.context import Services
from backend.packs import importer
from backend.packs.host import HOST
settings = Settings(base_directory=Path(sys.argv[1]), memory="cpu")
HOST.services = Services(folders=settings.folders(), settings=settings)
importer.install()
import comfy.utils, folder_paths, numpy, torch
from PIL import Image
from nodes import MAX_RESOLUTION
began, spent = time.perf_counter(), time.process_time()
root = Path(sys.argv[1]) / "custom_nodes"
for name in os.listdir(root):
    spec = importlib.util.spec_from_file_location(name, root / name / "__init__.py", submodule_search_locations=[str(root / name)])
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    for cls in module.NODE_CLASS_MAPPINGS.values():
        cls.INPUT_TYPES()
print(time.perf_counter() - began, time.process_time() - spent)
"""


def fill(home: Path) -> None:
    """The packs, each with a share of the nodes and a module of other code."""
    for pack in range(PACKS):
        folder = home / "custom_nodes" / f"bench_{pack}"
        folder.mkdir(parents=True)
        mine = range(pack * NODES // PACKS, (pack + 1) * NODES // PACKS)
        (folder / "__init__.py").write_text(HEAD + "".join(NODE.format(pack=pack, n=n) for n in mine), encoding="utf-8")
        code = "".join(FUNCTION.format(i=i) for i in range(LINES // 3))
        (folder / "code.py").write_text(code, encoding="utf-8")


def own_import(home: Path, environment: Mapping[str, str]) -> tuple[float, float]:
    """Seconds, and those of the processor, that the packs take in a process with all else imported, descriptions asked for once."""
    command = [sys.executable, "-c", OWN, str(home)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], env=environment, capture_output=True, text=True, check=True, timeout=600)
    seconds, cpu = map(float, done.stdout.split())
    return seconds, cpu


class Served(NamedTuple):
    """Seconds until the worker is ready, those that it counts as the packs', and those of its processor; the slowest answer before, and
    fetches of all descriptions after."""

    ready: float
    packs: float
    spent: float
    slowest: float
    fetched: list[float]


def figures(port: int) -> dict[str, str]:
    """What the server counts."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as reply:
        return dict(line.rsplit(" ", 1) for line in reply.read().decode().splitlines() if not line.startswith("#"))


def served(home: Path, port: int, environment: Mapping[str, str] | None = None) -> Served:
    """Start a server and look at it until it has answered a few times."""
    began = time.perf_counter()
    process = start(str(home), port, environment)
    try:
        until(port, "/health/live", began)
        slowest = 0.0
        while True:
            asked = time.perf_counter()
            is_ready = answer(port, "/health/ready") == 200
            answer(port, "/queue")
            slowest = max(slowest, time.perf_counter() - asked)
            if is_ready:
                break
            time.sleep(0.05)  # more would take from the worker: the processor may have two cores
        ready = time.perf_counter() - began
        worker = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])
        spent = cpu_seconds(worker)
        packs = float(figures(port)['emulsion_worker_start_seconds{part="packs"}'])
        fetched = []
        for _ in range(10):
            asked = time.perf_counter()
            assert answer(port, "/object_info") == 200
            fetched.append(time.perf_counter() - asked)
    finally:
        process.terminate()
        process.wait(30)
    return Served(ready, packs, spent, slowest, fetched)


def main(repeats: int) -> None:
    with tempfile.TemporaryDirectory(prefix="emulsion-bench-") as name:
        bare, home = Path(name) / "bare", Path(name) / "packs"
        bare.mkdir()
        fill(home)
        served(bare, 18_399)  # compiles the application, which is done once
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        measure(bare, home, repeats, "first start after they came", os.environ)
        own_import(home, compiled())
        measure(bare, home, repeats, "later starts", compiled())


def measure(bare: Path, home: Path, repeats: int, when: str, environment: Mapping[str, str]) -> None:
    """Rows of one kind of start."""
    own: list[tuple[float, float]] = []
    empty: list[Served] = []
    full: list[Served] = []
    for n in range(repeats):
        own.append(own_import(home, environment))
        empty.append(served(bare, 18_400 + 2 * n, environment))
        full.append(served(home, 18_401 + 2 * n, environment))
    wall, cpu = (min(row[k] for row in own) for k in (0, 1))  # the least: what else the machine does only ever adds
    usual = statistics.median(row.packs for row in full) / statistics.median(row[0] for row in own)
    without, with_them = (min(row.ready for row in rows) for rows in (empty, full))
    spent = min(row.spent for row in full) - min(row.spent for row in empty)
    cached = [t for row in full for t in row.fetched[1:]]
    added = min(row.packs for row in full)
    seconds = f"their own import {wall:.2f} s ({cpu:.2f} of the processor); with them the worker starts in {added:.2f} s more"
    apart = f"ready after {with_them:.2f} s, without them {without:.2f}; {spent / cpu:.2f} × in processor time"
    report(
        [
            Row(f"{PACKS} packs with {NODES} nodes, {when}", seconds),
            Row("what they add, beside their own import", f"{added / wall:.2f} × (median {usual:.2f} ×)", "≤ 1.5 ×"),
            Row("the same from outside, where starts differ more than that", apart),
            Row("slowest answer of the front meanwhile", f"{max(row.slowest for row in full) * 1000:.0f} ms"),
            Row("`/object_info`, cached", f"{statistics.median(cached) * 1000:.1f} ms (slowest {max(cached) * 1000:.1f})", "≤ 100 ms"),
        ]
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 6)

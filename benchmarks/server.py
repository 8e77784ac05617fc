"""A server of its own for a benchmark: private directories, and a pack of trivial nodes in class form."""

from __future__ import annotations

import json
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backend.cli.child import ServerProcess

PACK = """
class BenchIntAdd:
    CATEGORY, FUNCTION, RETURN_TYPES = "bench", "run", ("INT",)
    @classmethod
    def INPUT_TYPES(cls):
        whole = ("INT", {"default": 0, "min": -2**63, "max": 2**63})
        return {"required": {"a": whole, "b": whole}}
    def run(self, a, b):
        return (a + b,)

class BenchSink:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "bench", "run", (), True
    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("INT", {})}}
    def run(self, a):
        return {}

NODE_CLASS_MAPPINGS = {"BenchIntAdd": BenchIntAdd, "BenchSink": BenchSink}
"""
Graph = dict[str, Any]


@contextmanager
def running() -> Iterator[ServerProcess]:
    """A server on the CPU, ready to run jobs."""
    with tempfile.TemporaryDirectory(prefix="emulsion-bench-") as home:
        pack = Path(home) / "custom_nodes" / "bench"
        pack.mkdir(parents=True)
        (pack / "__init__.py").write_text(PACK, encoding="utf-8")
        with ServerProcess(Path(home) / "user", ["--base-directory", home, "--cpu"]) as process:
            get(process.url + "/object_info/BenchSink")
            yield process


def get(url: str, data: Any = None) -> Any:
    """GET, or POST of JSON; the reply's JSON."""
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=600) as reply:
        return json.loads(reply.read() or b"null")


def family(process: ServerProcess) -> tuple[int, int]:
    """Process ids of the front and of its worker (Linux)."""
    front = process.process.pid
    return front, int(Path(f"/proc/{front}/task/{front}/children").read_text().split()[0])


def rss(pid: int) -> float:
    """Resident memory of a process in MB (Linux)."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def cpu_seconds(pid: int) -> float:
    """Processor time a process has used (Linux)."""
    import os

    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / float(os.sysconf("SC_CLK_TCK"))


def add(a: Any, b: Any) -> Graph:
    return {"class_type": "BenchIntAdd", "inputs": {"a": a, "b": b}}


def sink(a: str) -> Graph:
    return {"class_type": "BenchSink", "inputs": {"a": [a, 0]}}


def chain(n: int, seed: int) -> Graph:
    """n nodes in a row."""
    graph = {str(i): add([str(i - 1), 0] if i else seed, 1) for i in range(n - 1)}
    return graph | {"s": sink(str(n - 2))}


def wide(n: int, seed: int) -> Graph:
    """One node that feeds n - 1 outputs."""
    return {"0": add(seed, 1)} | {str(i): sink("0") for i in range(1, n)}


def tree(n: int, seed: int) -> Graph:
    """n / 2 leaves, added in pairs down to one output."""
    graph = {"r": add(seed, 1)}
    level = [f"l{i}" for i in range(max(2, n // 2))]
    graph |= {id: add(["r", 0], i) for i, id in enumerate(level)}
    depth = 0
    while len(level) > 1:
        pairs = {f"t{depth}_{i}": add([level[i], 0], [level[i + 1], 0]) for i in range(0, len(level) - 1, 2)}
        graph |= pairs
        level = [*pairs, *level[len(pairs) * 2 :]]
        depth += 1
    return graph | {"s": sink(level[0])}

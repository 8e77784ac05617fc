"""What a graph costs from POST /prompt to `execution_success`: HTTP, validation, the pipe, the run, the events.

`python -m benchmarks.executor_http [SIZE ...]`. Trivial nodes in chains, wide graphs and trees; first cold, then with everything cached.
Wall time includes this client; the processor time is that of front and worker together, and does not count other programs.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass

from websockets.sync.client import ClientConnection, connect

from benchmarks.server import Graph, chain, cpu_seconds, family, get, running, tree, wide
from benchmarks.table import Row, report

COLD, CACHED = 0.15, 0.02  # goals, milliseconds per node
SIZES = (10, 100, 1000, 10_000)
REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Of one run: wall and processor seconds, bytes of events."""

    wall: float
    cpu: float
    bytes: int


def run(url: str, pids: tuple[int, int], socket: ClientConnection, graph: Graph) -> Cost:
    """One graph through the server."""
    before = sum(map(cpu_seconds, pids))
    began = time.perf_counter()
    id = get(url + "/prompt", {"prompt": graph, "client_id": "bench"})["prompt_id"]
    size = 0
    wall = 0.0
    while True:
        frame = socket.recv(timeout=600)
        size += len(frame)
        if '"execution_success"' in frame[:40]:
            wall = time.perf_counter() - began
        elif '"execution_error"' in frame[:40]:
            raise RuntimeError(frame)
        elif '"node":null' in frame[:60] and json.loads(frame)["data"].get("prompt_id") == id:
            return Cost(wall, sum(map(cpu_seconds, pids)) - before, size)


def main(sizes: tuple[int, ...]) -> None:
    seeds = itertools.count(int(time.time()) * 1_000_000, 100_000)
    with running() as process, connect(process.url.replace("http", "ws", 1) + "/ws?clientId=bench", max_size=None) as socket:
        pids = family(process)
        run(process.url, pids, socket, chain(5, next(seeds)))
        for name, shape in (("chain", chain), ("wide", wide), ("tree", tree)):
            for size in sizes:
                cold, cached = [], []
                for _ in range(REPEATS):
                    graph = shape(size, next(seeds))
                    cold.append(run(process.url, pids, socket, graph))
                    cached.append(run(process.url, pids, socket, graph))
                for word, costs, goal in (("cold", cold, COLD), ("cached", cached, CACHED)):
                    n = len(graph)
                    wall = statistics.median(c.wall for c in costs) * 1000 / n
                    cpu = min(c.cpu for c in costs) * 1000 / n
                    kb = costs[0].bytes / 1000
                    report(
                        [Row(f"{name} of {n} over HTTP, {word}", f"{wall:.3f} ms per node ({cpu:.3f} CPU), {kb:.0f} kB", f"≤ {goal} ms")]
                    )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)

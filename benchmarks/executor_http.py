"""What a graph costs from POST /prompt to `execution_success`: HTTP, validation, the pipe, the run, the events.

`python -m benchmarks.executor_http [SIZE ...]`. Trivial nodes in chains, wide graphs and trees: cold; the same request again, with
everything cached; and with the constant of one node changed whose only reader is an output. Wall time includes this client, which sends
prepared bytes and does not parse what it hears; the processor time is that of front and worker together, and does not count other
programs. Of five runs the best counts, since others only add to it. The time of a request that does next to nothing is a row of its own: no
graph, however small, is faster.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import time
from dataclasses import dataclass

import aiohttp

from benchmarks.server import Graph, add, chain, cpu_seconds, family, running, sink, tree, wide
from benchmarks.table import Row, report

COLD, CACHED = 0.15, 0.02  # goals, milliseconds per node
SIZES = (10, 100, 1000, 10_000)
REPEATS = 5


@dataclass(frozen=True)
class Cost:
    """Of one run: wall and processor seconds, bytes of events."""

    wall: float
    cpu: float
    bytes: int


class Client:
    """One connection for requests and one for events."""

    def __init__(self, url: str, pids: tuple[int, int], session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.url, self.pids = url, pids
        self.session, self.socket = session, socket

    async def run(self, graph: Graph) -> Cost:
        """One graph through the server."""
        body = json.dumps({"prompt": graph, "client_id": "bench"}).encode()
        before = sum(map(cpu_seconds, self.pids))
        began = time.perf_counter()
        async with self.session.post(self.url + "/prompt", data=body, headers={"Content-Type": "application/json"}) as reply:
            answer = await reply.json()
        size = 0
        wall = 0.0
        while True:
            frame = (await self.socket.receive(600)).data
            size += len(frame)
            head = frame[:40]
            if '"execution_success"' in head:
                wall = time.perf_counter() - began
            elif '"execution_error"' in head:
                raise RuntimeError(frame)
            elif '"node":null' in frame[:60] and json.loads(frame)["data"].get("prompt_id") == answer["prompt_id"]:
                return Cost(wall, sum(map(cpu_seconds, self.pids)) - before, size)


async def measure(client: Client, sizes: tuple[int, ...]) -> None:
    """Print rows."""
    seeds = itertools.count(int(time.time()) * 1_000_000, 100_000)
    await client.run(chain(5, next(seeds)))
    least = [await client.run(chain(2, 1)) for _ in range(20)]
    floor = statistics.median(c.wall for c in least[1:])
    report([Row("a cached graph of 2 nodes, request to success", f"{floor * 1000:.2f} ms in all")])
    for name, shape in (("chain", chain), ("wide", wide), ("tree", tree)):
        for size in sizes:
            costs: dict[str, list[Cost]] = {"cold": [], "cached": [], "one constant changed": []}
            for _ in range(REPEATS):
                graph = shape(size, next(seeds)) | {"leaf": add(0, 0), "end": sink("leaf")}
                costs["cold"].append(await client.run(graph))
                costs["cached"].append(await client.run(graph))
                costs["one constant changed"].append(await client.run(graph | {"leaf": add(next(seeds), 0)}))
            for word, found in costs.items():
                n = len(graph)
                wall = min(c.wall for c in found)
                cpu = min(c.cpu for c in found) * 1000 / n
                beyond = max(0.0, wall - floor) * 1000 / n
                kb = statistics.median(c.bytes for c in found) / 1000
                told = f"{wall * 1000 / n:.3f} ms per node ({beyond:.3f} beyond the smallest request, {cpu:.3f} CPU), {kb:.0f} kB"
                report([Row(f"{name} of {n} over HTTP, {word}", told, f"≤ {COLD if word == 'cold' else CACHED} ms")])


async def main(sizes: tuple[int, ...]) -> None:
    """Start a server, measure, stop it."""
    with running() as process:
        async with aiohttp.ClientSession() as session, session.ws_connect(process.url + "/ws?clientId=bench", max_msg_size=0) as socket:
            await measure(Client(process.url, family(process), session, socket), sizes)


if __name__ == "__main__":
    asyncio.run(main(tuple(map(int, sys.argv[1:])) or SIZES))

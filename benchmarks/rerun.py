"""What a run costs beside its nodes' own time: the default graph with the model that ships; another seed, another text, the same again.

`python -m benchmarks.rerun [REPEATS]`. From the request to `execution_success` on the socket, less what the nodes' own code took as the
server's trace tells. The least of the repeats counts, since other programs only add to it.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from backend.cli.child import ServerProcess
from benchmarks.table import Row, report

GRAPH = Path(__file__).resolve().parent.parent / "web" / "default_graph.json"
STEPS = 5
NODES = 3  # the lane of the trace
FLAGS = ["--cpu", "--disable-all-custom-nodes"]


class Client:
    """One connection for requests and one for events."""

    def __init__(self, url: str, session: aiohttp.ClientSession, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.url, self.session, self.socket = url, session, socket

    async def run(self, graph: dict[str, Any]) -> tuple[float, float]:
        """Seconds in all, and in the nodes' own code."""
        body = json.dumps({"prompt": graph, "client_id": "bench"}).encode()
        began, success = time.perf_counter(), 0.0
        async with self.session.post(self.url + "/prompt", data=body, headers={"Content-Type": "application/json"}) as reply:
            id = (await reply.json())["prompt_id"]
        while True:
            message = await self.socket.receive(600)
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            if '"execution_success"' in message.data[:40]:
                success = time.perf_counter() - began
            elif '"execution_error"' in message.data[:40]:
                raise RuntimeError(message.data)
            elif '"node":null' in message.data[:60]:
                break
        async with self.session.get(f"{self.url}/jobs/{id}/trace") as reply:
            trace = json.loads(await reply.read())
        return success, sum(e["dur"] for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == NODES) / 1e6


async def measure(url: str, repeats: int) -> None:
    """Print rows."""
    graph = json.loads(GRAPH.read_text(encoding="utf-8"))
    sampler, prompt = graph["5"]["inputs"], graph["2"]["inputs"]
    sampler["steps"] = STEPS
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "/ws?clientId=bench", max_msg_size=0) as socket:
        client = Client(url, session, socket)
        await client.run(graph)

        async def least(change: Any, goal: str, words: str) -> None:
            found = []
            for i in range(repeats):
                change(i)
                found.append(await client.run(graph))
            beside = min(whole - nodes for whole, nodes in found)
            whole = min(whole for whole, _ in found)
            report([Row(words, f"{beside * 1000:.1f} ms beside the nodes' own time ({whole * 1000:.0f} ms in all)", goal)])

        await least(lambda i: sampler.update(seed=100 + i), "≤ 5 ms", "the default graph with another seed")
        await least(lambda i: prompt.update(text=f"a small blue ring {i}"), "", "with another text")
        await least(lambda i: None, "", "the same again")


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory(prefix="emulsion-bench-") as home, ServerProcess(Path(home, "user"), FLAGS) as process:
        asyncio.run(measure(process.url, repeats))


if __name__ == "__main__":
    main()

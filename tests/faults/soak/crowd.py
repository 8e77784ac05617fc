"""Many clients, and a long queue. `python -m tests.faults.soak.crowd --clients 1000 --queued 10000` prints the figures.

The crowd: clients that listen, and five that connect and never read. Jobs run meanwhile, and every listener must hear of them as soon as it
would alone. The queue: while a job runs and others wait, further ones are sent and the seconds until each answer are taken.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import socket
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.wiretap import Server, running
from tests.faults.ask import long, quick, state, still_works
from tests.faults.soak.soak import resident

DEAF = 5


def deaf(url: str) -> socket.socket:
    """A client that opens a websocket and never reads from it."""
    host, port = url.removeprefix("http://").split(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    made.connect((host, int(port)))
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"GET /ws?clientId=deaf{key[:6]} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    made.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
    return made


async def _crowd(url: str, clients: int, jobs: int) -> dict[str, Any]:
    """Milliseconds from sending a job until its own client hears of its end, and the fewest messages that any listener got."""
    heard = [0] * clients
    own: asyncio.Queue[str] = asyncio.Queue()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        sockets = [await session.ws_connect(f"{url}/ws?clientId=c{i}", max_msg_size=0) for i in range(clients)]

        async def listen(i: int) -> None:
            async for message in sockets[i]:
                if message.type is aiohttp.WSMsgType.TEXT:
                    heard[i] += 1
                    if i == 0 and '"node":null' in message.data.replace(" ", ""):
                        own.put_nowait(json.loads(message.data)["data"]["prompt_id"])

        tasks = [asyncio.create_task(listen(i)) for i in range(clients)]
        seconds = []
        for _ in range(jobs):
            began = time.perf_counter()
            async with session.post(f"{url}/prompt", json={"prompt": quick(), "client_id": "c0"}) as reply:
                id = (await reply.json())["prompt_id"]
            while await asyncio.wait_for(own.get(), 60) != id:
                pass
            seconds.append(time.perf_counter() - began)
        await asyncio.sleep(1)
        for task in tasks:
            task.cancel()
        for one in sockets:
            await one.close()
    return {"median_ms": round(statistics.median(seconds) * 1000, 1), "worst_ms": round(max(seconds) * 1000, 1), "least_heard": min(heard)}


def crowd(server: Server, clients: int, jobs: int) -> dict[str, Any]:
    """Alone, and among the crowd with those that never read."""
    alone = asyncio.run(_crowd(server.url, 1, jobs))
    front = server.process.process.pid
    before = resident(front)
    never = [deaf(server.url) for _ in range(DEAF)]
    try:
        among = asyncio.run(_crowd(server.url, clients, jobs))
        grown = resident(front) - before
    finally:
        for one in never:
            one.close()
    assert among["least_heard"] > 1, "somebody did not hear of the queue"
    still_works(server)
    return {"clients": clients, "never_read": DEAF, "alone": alone, "among": among, "front_grew_mib": round(grown / 2**20, 1)}


async def _fill(url: str, count: int, connections: int = 8) -> list[float]:
    seconds: list[float] = []
    async with aiohttp.ClientSession() as session:

        async def send(many: int) -> None:
            for _ in range(many):
                began = time.perf_counter()
                async with session.post(f"{url}/prompt", json={"prompt": quick()}) as reply:
                    assert reply.status == 200, await reply.text()
                    await reply.read()
                seconds.append(time.perf_counter() - began)

        await asyncio.gather(*(send(count // connections) for _ in range(connections)))
    return seconds


def queued(server: Server, waiting: int, sent: int) -> dict[str, Any]:
    """Times of answers while `waiting` jobs wait behind one that runs: of `sent` further ones sent one after the other, and of listings."""
    running_id = server.submit(long(1000))
    while state(server, running_id) != "running":
        time.sleep(0.1)
    if waiting:
        asyncio.run(_fill(server.url, waiting))
    taken = sorted(asyncio.run(_fill(server.url, sent, 1)))
    listings = {}
    for path in ("/queue?limit=50", "/queue"):
        began = time.perf_counter()
        assert server.ask(path).status == 200
        listings[path] = round((time.perf_counter() - began) * 1000, 1)
    total = server.ask("/queue?limit=1").json()["total"]
    assert total >= waiting // 8 * 8 + sent
    assert state(server, running_id) == "running"
    began = time.perf_counter()
    server.ask("/queue", {"clear": True})
    cleared = time.perf_counter() - began
    server.ask("/interrupt", {})
    still_works(server)
    at = {name: round(taken[min(len(taken) - 1, int(len(taken) * part))] * 1000, 1) for name, part in (("p50", 0.5), ("p99", 0.99))}
    return {"queued": total, "submit_ms": at, "listing_ms": listings, "clear_ms": round(cleared * 1000)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--queued", type=int, default=10_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home, running(Path(home)) as server:
        print(json.dumps({"queued_before": queued(server, 0, 500), "queue": queued(server, options.queued, 500)}), flush=True)
        print(json.dumps(crowd(server, options.clients, 50)), flush=True)


if __name__ == "__main__":
    main()

"""How fast tiny jobs are accepted and run, what 100 listeners cost, and whether memory stays flat.

`python -m benchmarks.queue_submit [JOBS] [LEAK]`. Every accepted job is on disk before its answer. Jobs are sent over a few connections,
as a page and its scripts would; one connection alone waits for the disk each time.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
import sys
import tempfile
import time

import aiohttp

from benchmarks.server import chain, cpu_seconds, family, rss, running
from benchmarks.table import Row, report

CONNECTIONS = 8
_SEEDS = itertools.count(int(time.time()) * 1_000_000, 10)


def disk(writes: int = 200) -> float:
    """Median seconds the disk takes to confirm one small append: no client that waits for each answer can be faster."""
    taken = []
    with tempfile.TemporaryFile() as f:
        for _ in range(writes):
            f.write(bytes(4096))
            f.flush()
            began = time.perf_counter()
            os.fsync(f.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


async def burst(url: str, jobs: int, listeners: int = 1, connections: int = CONNECTIONS) -> tuple[float, float]:
    """Seconds until all were accepted, and until all had run."""
    numbers = itertools.islice(_SEEDS, jobs)
    ended = 0
    done = asyncio.Event()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        sockets = [await session.ws_connect(f"{url}/ws?clientId=bench{i}", max_msg_size=0) for i in range(listeners)]

        async def listen(i: int) -> None:
            nonlocal ended
            async for message in sockets[i]:
                if i == 0 and '"node":null' in message.data[:60]:
                    ended += 1
                    if ended == jobs:
                        done.set()

        async def send() -> None:
            for seed in numbers:
                async with session.post(f"{url}/prompt", json={"prompt": chain(3, seed), "client_id": "bench0"}) as reply:
                    assert reply.status == 200, await reply.text()
                    await reply.read()

        tasks = [asyncio.create_task(listen(i)) for i in range(listeners)]
        began = time.perf_counter()
        await asyncio.gather(*(send() for _ in range(connections)))
        accepted = time.perf_counter() - began
        await asyncio.wait_for(done.wait(), 600)
        ran = time.perf_counter() - began
        for task in tasks:
            task.cancel()
        for socket in sockets:
            await socket.close()
    return accepted, ran


def main(jobs: int, leak: int) -> None:
    with running() as process:
        pids = family(process)
        report([Row("memory of the idle front", f"{rss(pids[0]):.0f} MB", "< 80 MB")])
        asyncio.run(burst(process.url, 50))
        accepted, ran = asyncio.run(burst(process.url, jobs))
        report([Row(f"{jobs} tiny jobs accepted, {CONNECTIONS} connections", f"{jobs / accepted:.0f} per second", "≥ 500 per second")])
        report([Row(f"{jobs} tiny jobs run", f"{jobs / ran:.0f} per second")])
        accepted, _ = asyncio.run(burst(process.url, jobs // 4, connections=1))
        rate = f"{jobs // 4 / accepted:.0f} per second, while they run; the disk confirms a write in {disk() * 1000:.1f} ms"
        report([Row("tiny jobs accepted, one connection", rate)])
        before = cpu_seconds(pids[0])
        asyncio.run(burst(process.url, jobs // 4))
        alone = cpu_seconds(pids[0]) - before
        before = cpu_seconds(pids[0])
        asyncio.run(burst(process.url, jobs // 4, listeners=100))
        crowd = cpu_seconds(pids[0]) - before
        report([Row("front's CPU per job, 1 listener", f"{alone / (jobs // 4) * 1000:.2f} ms")])
        report([Row("front's CPU per job, 100 listeners", f"{crowd / (jobs // 4) * 1000:.2f} ms")])
        start = [rss(pid) for pid in pids]
        for _ in range(max(1, leak // 500)):
            asyncio.run(burst(process.url, 500))
        grown = [rss(pid) - was for pid, was in zip(pids, start)]
        report([Row(f"growth over {leak} more jobs", f"front {grown[0]:+.1f} MB, worker {grown[1]:+.1f} MB", "flat")])


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(given[0] if given else 1000, given[1] if len(given) > 1 else 5000)

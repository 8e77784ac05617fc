"""What the fault tests share: graphs, and waiting for what must happen."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.wiretap import PATIENCE_S, Json, Server, node

SEEDS = itertools.count(20_000_000)


def quick() -> Json:
    return {"1": node("TestShow", a=next(SEEDS))}


def long(seconds: float = 60) -> Json:
    return {"1": node("TestSleep", seconds=seconds, deaf=False, seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])}


def eventually(check: Callable[[], object], timeout: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def ended(server: Server, id: str) -> Json:
    eventually(lambda: server.history(id))
    return server.history(id)


def state(server: Server, id: str) -> str:
    found: str = server.ask(f"/jobs/{id}").json().get("state", "")
    return found


def worked(server: Server) -> float:
    """Seconds of processor time that the front and its workers, also those that ended, have used; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0.0
    front = server.process.process.pid
    living = Path(f"/proc/{front}/task/{front}/children").read_text().split()
    ticks = [Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:15] for pid in (front, *living)]
    return sum(int(each) for one in ticks for each in one) / os.sysconf("SC_CLK_TCK")


def still_works(server: Server) -> None:
    assert ended(server, server.submit(quick()))["status"]["completed"]

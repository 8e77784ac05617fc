"""What the fault tests share: graphs, and waiting for what must happen."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

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


def still_works(server: Server) -> None:
    assert ended(server, server.submit(quick()))["status"]["completed"]

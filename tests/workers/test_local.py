from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.base.errors import Problem
from backend.workers.death import Death, explain
from backend.workers.local import LocalWorker, WorkerAway
from backend.workers.protocol import Frame

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120  # with a child that others keep from the processor; only a failure waits so long
pytestmark = pytest.mark.skipif(os.name == "nt", reason="the ways to die are those of POSIX")


class Owner:
    """Collects what a worker says; `death` is set after each death."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.deaths: asyncio.Queue[Death] = asyncio.Queue()
        self.log: list[str] = []
        self.done = asyncio.Event()

    async def on_frame(self, frame: Frame) -> None:
        self.frames.append(frame)
        if frame.message["op"] == "done":
            self.done.set()

    async def on_death(self, death: Death) -> None:
        self.deaths.put_nowait(death)


@asynccontextmanager
async def worker(*flags: str, **options: Any) -> AsyncIterator[tuple[LocalWorker, Owner]]:
    owner = Owner()
    home = tempfile.TemporaryDirectory()
    local = LocalWorker(
        [sys.executable, "-P", str(ROOT / "tests/workers/child.py"), *flags],
        on_frame=owner.on_frame,
        on_death=owner.on_death,
        on_log=owner.log.append,
        beacon=Path(home.name) / "beacon",
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **options,
    )
    local.start()
    try:
        yield local, owner
    finally:
        await local.stop()
        home.cleanup()


def job(id: str, does: str) -> tuple[str, str]:
    return json.dumps({"id": id, "does": does}), "{}"


@pytest.mark.parametrize(
    ("does", "kind", "words"),
    [
        ("segv", "crash", "SIGSEGV"),
        ("kill", "killed", "out of memory"),
        ("exit", "exit", "exit code 3"),
        ("noise", "crash", "frame"),
    ],
)
async def test_death_is_named_and_the_next_worker_works(does: str, kind: str, words: str) -> None:
    async with worker() as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.run(*job("a", does))
        death = await asyncio.wait_for(owner.deaths.get(), PATIENCE_S)
        assert death.kind == kind
        assert words in death.cause
        await asyncio.sleep(0)
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.run(*job("b", "well"))
        await asyncio.wait_for(owner.done.wait(), PATIENCE_S)
        assert local.restarts == 1


async def test_hang_is_ended_and_named() -> None:
    async with worker(silence_s=1.5) as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        await asyncio.sleep(2.0)
        assert owner.deaths.empty(), "a worker that beats is not hanging"
        local.run(*job("a", "hang"))
        death = await asyncio.wait_for(owner.deaths.get(), PATIENCE_S)
        assert death.kind == "hang"
        assert "no sign of life" in death.cause


async def test_cancel_that_is_ignored_ends_the_process() -> None:
    async with worker(grace_s=0.2) as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.run(*job("a", "busy"))
        local.cancel("a")
        death = await asyncio.wait_for(owner.deaths.get(), PATIENCE_S)
        assert death.kind == "cancel"


async def test_cancel_that_is_obeyed_does_not() -> None:
    async with worker(grace_s=0.2) as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.cancel("a")
        local.ended("a")
        await asyncio.sleep(0.5)
        assert owner.deaths.empty()
        assert await local.call("echo", 1, 5) == 1


async def test_calls() -> None:
    async with worker() as (local, _):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        assert await asyncio.gather(*(local.call("echo", n, 5) for n in range(20))) == list(range(20))
        with pytest.raises(Problem, match="no such method"):
            await local.call("other", None, 5)
        with pytest.raises(WorkerAway, match="silence"):
            await local.call("silence", None, 0.1)


async def test_call_ends_with_its_worker() -> None:
    async with worker() as (local, _):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        waiting = asyncio.create_task(local.call("silence", None, 30))
        await asyncio.sleep(0.05)
        local.run(*job("a", "segv"))
        with pytest.raises(WorkerAway, match="ended before"):
            await asyncio.wait_for(waiting, PATIENCE_S)


async def test_prints_go_to_the_log_without_end_of_line() -> None:
    async with worker() as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.run(*job("a", "print"))
        await asyncio.wait_for(owner.done.wait(), PATIENCE_S)
        for _ in range(100):
            if "last words" in owner.log:
                break
            await asyncio.sleep(0.02)
        assert "last words" in owner.log
        assert sum(line.count("x") for line in owner.log) == 100_000


async def test_worker_that_cannot_start_is_tried_again_slowly() -> None:
    async with worker("--broken") as (local, owner):
        causes = [(await asyncio.wait_for(owner.deaths.get(), PATIENCE_S)).cause for _ in range(2)]
        assert all("exit code 7" in cause for cause in causes)
        assert not local.ready.is_set()
        assert "cannot import a pack" in owner.log
        with pytest.raises(WorkerAway):
            local.run(*job("a", "well"))


async def test_what_it_was_doing_is_known_after_its_death() -> None:
    async with worker() as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        local.run(*job("a", "well"))
        await asyncio.wait_for(owner.done.wait(), PATIENCE_S)
        local.run(*job("b", "segv"))
        assert (await asyncio.wait_for(owner.deaths.get(), PATIENCE_S)).doing == ("b", "segv")


async def test_no_orphans() -> None:
    async with worker() as (local, _):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        pid = local.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(("code", "words"), [(0, "by itself"), (-15, "SIGTERM"), (-6, "gave up"), (-250, "signal 250")])
def test_other_endings(code: int, words: str) -> None:
    assert words in explain(code).cause


def test_the_likely_cause_is_told() -> None:
    assert "model file" in explain(-7).hint
    assert explain(-9).starved
    assert not explain(-11).starved


async def test_a_fresh_process_takes_the_place_of_one_that_has_worked() -> None:
    async with worker() as (local, owner):
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        first = local.pid
        local.renew()
        assert local.ready.is_set(), "it has nothing to give back"
        local.run(*job("a", "well"))
        await asyncio.wait_for(owner.done.wait(), PATIENCE_S)
        local.renew()
        assert not local.ready.is_set()
        await asyncio.wait_for(local.ready.wait(), PATIENCE_S)
        assert local.pid not in (None, first)
        assert owner.deaths.empty() and local.restarts == 0

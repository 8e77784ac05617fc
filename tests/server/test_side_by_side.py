"""Several workers: jobs begin in order, run side by side, and one worker's end is its own job's matter only."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from backend.base import events as ev
from backend.base.config import Settings, parse
from backend.base.errors import BadInput
from backend.server import jobs as jobs_module
from backend.server.hub import Hub
from backend.server.jobs import Jobs
from backend.storage.db import Database
from backend.storage.events import EventLog
from backend.storage.history import History, Kept
from backend.storage.queue import Queue, QueuedJob


class Fake:
    """A worker that takes jobs and does nothing by itself."""

    def __init__(self) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.jobs: list[str] = []
        self.lean: list[bool] = []
        self.told: list[list[str]] = []
        self.cancelled: list[str] = []
        self.renewed = self.freed = 0

    def run(self, about: str, prompt: str) -> None:
        self.jobs.append(json.loads(about)["id"])
        self.lean.append(json.loads(about)["lean"])

    def cancel(self, id: str) -> None:
        self.cancelled.append(id)

    def ended(self, id: str) -> None:
        pass

    def free(self, unload_models: bool, free_memory: bool) -> None:
        self.freed += 1

    def comes(self, files: Collection[str]) -> None:
        self.told.append(list(files))

    def renew(self) -> None:
        self.renewed += 1

    async def call(self, method: str, args: Any, timeout: float) -> Any:
        return None


numbers = itertools.count(1)


def job(id: str, model: str = "") -> QueuedJob:
    prompt = json.dumps({"1": {"class_type": "Load", "inputs": {"name": model}}})
    return QueuedJob(id, next(numbers), "client", prompt, "{}", '["1"]', time.time())


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    database = Database(tmp_path / "db.sqlite", print)
    queue = Queue(database)
    made = Jobs(queue, History(database, Kept(100, 0, 0)), EventLog(database), Hub(lambda: len(queue)), print)
    made.workers = [Fake(), Fake()]
    yield made
    await made.stop(0)
    database.close()


def fakes(jobs: Jobs) -> list[Fake]:
    return [worker for worker in jobs.workers if isinstance(worker, Fake)]


async def finish(jobs: Jobs, id: str) -> None:
    now = int(time.time() * 1000)
    jobs.on_events(id, [ev.to_json(ev.RunStarted(now)), ev.to_json(ev.RunSucceeded(now))])
    await jobs.on_done(id)


async def test_two_run_and_the_third_waits(jobs: Jobs) -> None:
    for id in "abc":
        await jobs.submit(job(id))
    first, second = fakes(jobs)
    assert (first.jobs, second.jobs) == (["a"], ["b"])
    assert [(j.id, node) for j, node in jobs.running] == [("a", None), ("b", None)]
    await finish(jobs, "b")
    assert second.jobs == ["b", "c"]
    await finish(jobs, "a")
    await finish(jobs, "c")
    assert not jobs.running and not len(jobs.queue)
    assert all(json.loads(jobs.history.entry(id))[id]["status"]["completed"] for id in "abc")


async def test_a_job_goes_where_its_model_is(jobs: Jobs) -> None:
    first, second = fakes(jobs)
    await jobs.submit(job("a", "x.safetensors"))
    await jobs.submit(job("b", "y.safetensors"))
    await finish(jobs, "a")
    await finish(jobs, "b")
    await jobs.submit(job("c", "y.safetensors"))
    assert second.jobs == ["b", "c"]
    await jobs.submit(job("d", "y.safetensors"))
    assert first.jobs == ["a", "d"], "a worker that is free is better than waiting"


async def test_the_death_of_one_does_not_touch_the_other(jobs: Jobs) -> None:
    first, second = fakes(jobs)
    await jobs.submit(job("a"))
    await jobs.submit(job("b"))
    first.ready.clear()
    await jobs.on_death(first, "The device is gone.", "", False, None)
    assert [j.id for j, _ in jobs.running] == ["b"]
    await finish(jobs, "b")
    assert second.jobs == ["b", "a"], "the job of the dead one runs where there is room"
    await jobs.on_death(second, "The device is gone.", "", False, None)
    await jobs.on_death(second, "The device is gone.", "", False, None)


async def test_a_worker_hears_what_the_job_after_the_present_one_needs(jobs: Jobs) -> None:
    (only,) = jobs.workers = [Fake()]
    for id, model in (("a", "x.safetensors"), ("b", "y.safetensors"), ("c", "y.safetensors"), ("d", "")):
        await jobs.submit(job(id, model))
    assert only.told == [["y.safetensors"]]
    await finish(jobs, "a")
    assert only.told == [["y.safetensors"]], "the job after is of the same model"
    await finish(jobs, "b")
    assert only.told[1:] == [[]]
    await finish(jobs, "c")
    await finish(jobs, "d")
    assert len(only.told) == 2


async def test_a_worker_hears_when_the_line_changes(jobs: Jobs) -> None:
    (only,) = jobs.workers = [Fake()]
    for id, model in (("a", "x.safetensors"), ("b", "y.safetensors"), ("c", "z.safetensors")):
        await jobs.submit(job(id, model))
    placed = jobs.queue.place(["c"])
    assert placed is not None and only.told == [["y.safetensors"], ["z.safetensors"]]
    edited = jobs.queue.edit("c", job("c", "w.safetensors").prompt, "{}", '["1"]')
    assert edited is not None and only.told[2:] == [["w.safetensors"]]
    jobs.queue.delete(["c"])
    assert only.told[3:] == [["y.safetensors"]]
    jobs.queue.clear()
    assert only.told[4:] == [[]]
    await finish(jobs, "a")


async def test_a_job_that_was_starved_is_tried_with_less(jobs: Jobs) -> None:
    first, second = fakes(jobs)
    await jobs.submit(job("a"))
    await jobs.submit(job("b"))
    await jobs.on_death(first, "It was killed.", "", False, None, True)
    assert first.jobs == ["a", "a"]
    assert first.lean == [False, True]
    await finish(jobs, "a")
    await jobs.on_death(second, "It crashed.", "", False, None)
    assert first.lean + second.lean == [False, True, False, False]


async def test_one_is_cancelled(jobs: Jobs) -> None:
    first, second = fakes(jobs)
    await jobs.submit(job("a"))
    await jobs.submit(job("b"))
    jobs.interrupt("b")
    jobs.interrupt("nobody")
    assert (first.cancelled, second.cancelled) == ([], ["b"])


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


async def test_after_everything_was_freed_processes_are_exchanged_unless_a_job_comes(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "RENEW_AFTER_S", 0.05)
    first, second = fakes(jobs)
    jobs.free(True, False)
    assert (first.freed, second.freed) == (1, 1)
    jobs.free(True, True)
    await jobs.submit(job("a"))
    await finish(jobs, "a")
    await asyncio.sleep(0.1)
    assert not first.renewed and not second.renewed
    jobs.free(True, True)
    await until(lambda: first.renewed == second.renewed == 1)


def test_each_named_device_has_a_worker() -> None:
    assert Settings().devices() == (None,)
    assert parse(["--cuda-device", "1"]).devices() == ("1",)
    assert parse(["--cuda-device", "0, 2"]).devices() == ("0", "2")
    assert parse(["--workers", "3"]).devices() == (None,) * 3
    with pytest.raises(BadInput, match="0 workers"):
        parse(["--workers", "0"])

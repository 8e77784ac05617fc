"""A worker that has nothing to do gives freed memory back at once, and the device after a while, each once."""

from __future__ import annotations

import queue
from types import SimpleNamespace
from typing import Any

import pytest

from backend.base.config import Settings
from backend.worker import Worker


class Enough(Exception):
    pass


class Idle(Worker):
    """Only the loop; it ends when it would wait without end."""

    def __init__(self, minutes: float) -> None:
        self.settings = Settings(idle_unload=minutes)
        self.pipe: Any = SimpleNamespace(tasks=self)
        self.waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.kernels: Any = SimpleNamespace(ask=lambda: None)
        self.did: list[str] = []

    def get(self, timeout: float | None) -> Any:
        if timeout is None and self.waiting.empty():
            raise Enough
        return self.waiting.get(timeout=timeout)

    def _free(self, unload_models: bool, free_memory: bool) -> None:
        self.did.append("task")

    def _tidy(self) -> None:
        self.did.append("tidy")

    def _unload(self, why: str = "") -> None:
        self.did.append(why)


TASK = ({"op": "free", "unload_models": True, "free_memory": False}, b"")


@pytest.mark.parametrize(("minutes", "expected"), [(0.0005, ["tidy", "there was no job for 0.0005 minutes"]), (0.0, ["tidy"])])
def test_after_its_last_task_it_waits_and_gives_back(minutes: float, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.worker._PAUSE_S", 0.01)
    worker = Idle(minutes)
    worker.waiting.put(TASK)
    with pytest.raises(Enough):
        worker.work()
    assert worker.did == ["task", *expected]

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from backend.base import events as ev
from backend.engine.call import CURRENT
from tests.engine.runs import Bench, kind, node


def test_parked_nodes_let_others_run() -> None:
    bench = Bench()
    bench.run({"1": node("Nap", a=1, seconds=0.05), "2": node("Value", a=2), "3": node("Add", a="#1", b="#2"), "4": node("Show", a="#3")})
    assert bench.ran == ["1", "2", "1!", "3", "4"] and bench.shown() == {"4": {"text": ["3"]}}


def test_naps_overlap() -> None:
    here: list[int] = []
    all_here = asyncio.Event()

    async def meet(ctx: Any, a: Any) -> Any:
        here.append(a)
        if len(here) == 10:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), 30)
        return a

    bench = Bench(kind("Meet", meet, "a", is_async=True))
    document = {str(i): node("Meet", a=i) for i in range(10)} | {f"s{i}": node("Show", a=f"#{i}") for i in range(10)}
    assert bench.run(document).status == "success"
    assert len(bench.of(ev.NodeShown)) == 10


def test_mapped_calls_are_awaited_together_and_keep_their_order() -> None:
    bench = Bench()
    bench.run({"1": node("List", a={"__value__": [0.3, 0.2, 0.1]}), "2": node("Nap", a="#1", seconds="#1"), "3": node("Show", a="#2")})
    assert bench.shown() == {"3": {"text": ["0.3", "0.2", "0.1"]}}
    assert [r for r in bench.ran if r.startswith("2")][:3] == ["2", "2", "2"]


def test_one_that_is_ready_at_once_is_not_parked() -> None:
    async def ready(ctx: Any, a: Any) -> Any:
        return a + 1

    bench = Bench(kind("Ready", ready, "a", is_async=True))
    bench.run({"1": node("Ready", a=1), "2": node("Value", a=2), "3": node("Show", a="#1"), "4": node("Show", a="#2")})
    assert bench.story()[2:4] == ["start:1", "finish:1"]


def test_errors_of_parked_nodes_are_theirs_and_end_the_others() -> None:
    ended: list[str] = []

    async def fail(ctx: Any) -> None:
        await asyncio.sleep(0.02)
        raise ValueError("late")

    async def long(ctx: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(ctx.node)

    bench = Bench(kind("Late", fail, outputs=0, is_async=True), kind("Long", long, outputs=0, is_async=True))
    error = bench.run({"1": node("Long"), "2": node("Late")}).error
    assert error is not None and (error.node, error.message) == ("2", "late") and ended == ["1"]


def test_a_waiting_run_can_be_cancelled() -> None:
    flag = {"until": time.perf_counter() + 0.2}
    bench = Bench()
    began = time.perf_counter()
    outcome = bench.run(
        {"1": node("Nap", a=1, seconds=60), "2": node("Show", a="#1")}, cancelled=lambda: time.perf_counter() > flag["until"]
    )
    assert outcome.status == "interrupted" and time.perf_counter() - began < 30


def test_the_context_is_known_while_awaiting() -> None:
    seen: list[Any] = []

    async def look(ctx: Any) -> None:
        await asyncio.sleep(0.01)
        seen.append((CURRENT.get() is ctx, ctx.index))

    bench = Bench(kind("Look", look, "a", outputs=0, is_async=True))
    look_at = kind("Look2", lambda ctx, a: look(ctx), "a", outputs=0)
    bench = Bench(look_at)
    bench.run({"1": node("List", a={"__value__": [1, 2]}), "2": node("Look2", a="#1")})
    assert seen == [(True, 0), (True, 1)]


def test_async_fingerprints_and_lazy_questions() -> None:
    async def fingerprint(ctx: Any, **given: Any) -> int:
        return 5

    async def status(ctx: Any, a: Any = None) -> list[str]:
        return ["a"] if a is None else []

    bench = Bench(kind("Odd", lambda ctx, a=None: a, "a~", fingerprint=fingerprint, lazy_status=status))
    document = {"1": node("Value", a=3), "2": node("Odd", a="#1"), "3": node("Show", a="#2")}
    bench.run(document)
    assert bench.shown() == {"3": {"text": ["3"]}}
    bench.run(document)
    assert bench.ran == []


def test_nothing_is_left_behind(recwarn: pytest.WarningsRecorder) -> None:
    async def fail(ctx: Any, a: Any) -> None:
        await asyncio.sleep(0)
        raise ValueError(str(a))

    bench = Bench(kind("FailAll", fail, "a", outputs=0, is_async=True))
    assert bench.run({"1": node("List", a={"__value__": [1, 2, 3]}), "2": node("FailAll", a="#1")}).status == "error"
    assert [str(w.message) for w in recwarn] == []

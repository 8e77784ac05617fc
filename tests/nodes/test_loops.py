"""Loops in graphs: values handed on, lists, ends without a reader, loops within loops, and graphs that make no sense."""

from __future__ import annotations

from typing import Any

import pytest

from backend.engine.context import Context
from nodes.loops import end_loop, start_loop
from tests.engine.runs import Bench, kind, node

STARTS, ENDS = start_loop.node_type, end_loop.node_type  # type: ignore[attr-defined]


@pytest.fixture
def seen() -> list[Any]:
    return []


@pytest.fixture
def bench(seen: list[Any]) -> Bench:
    def note(ctx: Context, a: Any) -> Any:
        seen.append(a)
        return a

    return Bench(STARTS, ENDS, kind("Note", note, "a"), kind("Items", lambda ctx: ["x", "y", "z"]))


def simple(times: Any, **more: Any) -> dict[str, Any]:
    return node("StartLoop", mode="simple", **{"mode.num_iterations": times}, **more)


def failed(bench: Bench) -> str:
    return next(str(event) for event in bench.events if "Failed" in type(event).__name__)


def test_each_iteration_begins_with_what_the_one_before_left(bench: Bench) -> None:
    document = {
        "s": simple("#n", initial_iteration_value=1), "n": node("Value", a=5), "d": node("Add", a="#s:4", b="#s:4"),
        "e": node("EndLoop", output_value="#d", next_iteration_value="#d", accumulate=True), "o": node("Show", a="#e"),
    }  # fmt: skip
    assert bench.run(document).status == "success"
    assert bench.shown()["o"]["text"] == ["2", "4", "8", "16", "32"]
    document["e"]["inputs"]["accumulate"] = False
    bench.run(document)
    assert bench.shown()["o"]["text"] == ["32"]


def test_an_iteration_knows_where_it_is(bench: Bench, seen: list[Any]) -> None:
    document = {
        "s": simple(3), "i": node("Note", a="#s:0"), "f": node("Note", a="#s:1"), "l": node("Note", a="#s:2"),
        "e": node("EndLoop", output_value="#i", **{"terminations.termination0": "#f", "terminations.termination1": "#l"}),
        "o": node("Show", a="#e"),
    }  # fmt: skip
    assert bench.run(document).status == "success"
    assert bench.shown()["o"]["text"] == ["0", "1", "2"]
    ends = [value for value in seen if isinstance(value, bool)]
    assert sorted(ends) == [False, False, True, True], "ends run in every iteration; those with equal values once, as all equal nodes do"
    seen.clear()
    bench.run(document)
    assert not seen, "iterations are cached as other nodes are"


def test_a_loop_over_a_list(bench: Bench) -> None:
    document = {
        "v": node("Items"), "s": node("StartLoop", mode="list", **{"mode.list": "#v"}), "n": node("Note", a="#s:3"),
        "e": node("EndLoop", output_value="#n"), "o": node("Show", a="#e"),
    }  # fmt: skip
    assert bench.run(document).status == "success"
    assert bench.shown()["o"]["text"] == ["x", "y", "z"]


def test_a_loop_within_a_loop(bench: Bench) -> None:
    document = {
        "s": simple(2), "t": simple(3, parent_iteration="#s:0"), "a": node("Add", a="#s:0", b="#t:0"),
        "f": node("EndLoop", output_value="#a"), "e": node("EndLoop", output_value="#f"), "o": node("Show", a="#e"),
    }  # fmt: skip
    assert bench.run(document).status == "success"
    assert bench.shown()["o"]["text"] == ["0", "1", "2", "1", "2", "3"]


def test_graphs_that_make_no_sense_are_explained(bench: Bench) -> None:
    assert bench.run({"v": node("Value", a=1), "e": node("EndLoop", output_value="#v"), "o": node("Show", a="#e")}).status != "success"
    assert "Nothing before this End Loop comes from a Start Loop" in failed(bench)
    bench.events.clear()
    document = {"n": node("Value", a=0), "s": simple("#n"), "e": node("EndLoop", output_value="#s:0"), "o": node("Show", a="#e")}
    assert bench.run(document).status != "success" and "1 to 1000 times" in failed(bench)

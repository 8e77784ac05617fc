from __future__ import annotations

from typing import Any

import pytest

from backend.base import events as ev
from backend.engine.cache import Nothing, Ram
from backend.engine.context import Context, Expand
from backend.engine.expand import Subgraph
from tests.engine.runs import Bench, kind, node


def twice(ctx: Context, a: Any) -> Expand:
    g = Subgraph(ctx)
    one = g.node("Add", a=a, b=100)
    two = g.node("Add", a=one.out(0), b=one.out(0))
    return g.expand(two.out(0))


def countdown(ctx: Context, a: Any) -> Any:
    """Nested: expands into itself until it reaches nothing."""
    if a == 0:
        return "done"
    g = Subgraph(ctx)
    return g.expand(g.node("Countdown", a=a - 1).out(0))


TWICE = kind("Twice", twice, "a")
COUNTDOWN = kind("Countdown", countdown, "a")


def test_a_node_can_be_a_graph() -> None:
    bench = Bench(TWICE)
    document = {"0": node("Value", a=5), "1": node("Twice", a="#0"), "2": node("Show", a="#1")}
    assert bench.run(document).status == "success"
    assert bench.shown() == {"2": {"text": ["210"]}} and bench.ran == ["0", "1.0.0.1", "1.0.0.2", "2"]
    inner = next(e for e in bench.of(ev.NodeStarted) if e.node == "1.0.0.2")
    assert (inner.display, inner.parent, inner.real) == ("1", "1", "1")
    bench.run(document)
    assert bench.ran == []


def test_the_children_are_cached_like_others() -> None:
    calls: list[int] = []

    def expand(ctx: Context, a: Any, salt: Any) -> Expand:
        calls.append(salt)
        g = Subgraph(ctx)
        return g.expand(g.node("Add", a=a, b=1).out(0))

    bench = Bench(kind("Salted", expand, "a salt"))
    bench.run({"1": node("Salted", a=5, salt=1), "2": node("Show", a="#1")})
    bench.run({"1": node("Salted", a=5, salt=2), "2": node("Show", a="#1")})
    assert calls == [1, 2] and bench.ran == ["2"]
    shown = {e.node: e.cached for e in bench.of(ev.NodeShown)}
    assert shown == {"2": False}  # an inner result that exists is simply read


def test_expansions_nest() -> None:
    bench = Bench(COUNTDOWN)
    bench.run({"1": node("Countdown", a=5), "2": node("Show", a="#1")})
    assert bench.shown() == {"2": {"text": ["done"]}}
    deepest = bench.of(ev.NodeStarted)[-2]
    assert deepest.node == "1" + ".0.0.1" * 5 and (deepest.display, deepest.real) == ("1", "1")
    assert deepest.parent == "1" + ".0.0.1" * 4


def test_outputs_inside_run_too_and_show_for_their_parent() -> None:
    def expand(ctx: Context, a: Any) -> Expand:
        g = Subgraph(ctx)
        g.node("Show", a=a)
        g.node("Show", display="2", a=a)
        return g.expand("constant")

    bench = Bench(kind("Showing", expand, "a"))
    bench.run({"1": node("Showing", a=5), "2": node("Show", a="#1")})
    shown = {e.node: (e.display, e.output) for e in bench.of(ev.NodeShown)}
    assert shown == {"1.0.0.1": ("1", {"text": ["5"]}), "1.0.0.2": ("2", {"text": ["5"]}), "2": (None, {"text": ["constant"]})}


def test_mapped_expansions_are_joined_with_plain_results() -> None:
    def expand(ctx: Context, a: Any) -> Any:
        return a if a % 2 else twice(ctx, a)

    bench = Bench(kind("Odd", expand, "a"))
    bench.run({"0": node("List", a={"__value__": [1, 2, 3]}), "1": node("Odd", a="#0"), "2": node("Show", a="#1")})
    assert bench.shown() == {"2": {"text": ["1", "204", "3"]}}


def test_links_out_of_the_expansion_and_raw_values_inside() -> None:
    def expand(ctx: Context, **_: Any) -> Expand:
        thing = object()
        nodes = {"in": {"class_type": "Value", "inputs": {"a": [thing, 5]}}, "out": node("Add", a="#0", b=1)}
        return Expand(nodes, [["out", 0]], {"note": ["n"]})

    bench = Bench(kind("Odd", expand, "a"))
    bench.run({"0": node("Value", a=41), "1": node("Odd", a="#0"), "2": node("Show", a="#1")})
    assert bench.shown() == {"1": {"note": ["n"]}, "2": {"text": ["42"]}}


@pytest.mark.parametrize(
    ("nodes", "words"),
    [({"0": node("Value", a=1)}, "exists already"), ({"x": {"inputs": {}}}, "without class_type"), ({"x": node("Nope")}, "does not exist")],
)
def test_a_bad_expansion_is_the_fault_of_its_node(nodes: dict[str, Any], words: str) -> None:
    bench = Bench(kind("Bad", lambda ctx: Expand(nodes, [["x", 0]])))
    error = bench.run({"0": node("Bad"), "2": node("Show", a="#0")}).error
    assert error is not None and words in error.message and error.node == "0"


def test_an_error_inside_is_told_of_the_visible_node() -> None:
    def expand(ctx: Context) -> Expand:
        g = Subgraph(ctx)
        return g.expand(g.node("Fail").out(0))

    bench = Bench(kind("Hiding", expand))
    error = bench.run({"1": node("Hiding"), "2": node("Show", a="#1")}).error
    assert error is not None and (error.node, error.node_type) == ("1", "Hiding")


@pytest.mark.parametrize("cache", [Nothing(), Ram(10**6)])
def test_it_works_when_results_are_freed_early(cache: Any) -> None:
    bench = Bench(TWICE, COUNTDOWN, cache=cache)
    document = {
        "0": node("Value", a=5), "1": node("Twice", a="#0"), "3": node("Countdown", a=3), "2": node("Show", a="#1"),
        "4": node("Show", a="#3"), "5": node("Show", a="#0"), "6": node("Add", a="#1", b="#0"), "7": node("Show", a="#6"),
    }  # fmt: skip
    for _ in range(2):
        assert bench.run(document).status == "success"
        assert {k: v["text"][0] for k, v in bench.shown().items() if v} == {"2": "210", "4": "done", "5": "5", "7": "215"}

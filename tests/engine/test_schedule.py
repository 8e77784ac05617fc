from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine.schedule import Cycle, Schedule

Graph = dict[str, list[str]]  # node -> sources


def run(
    graph: Graph, targets: list[str], outputs: set[str] | None = None, urgent: set[str] | None = None, done: set[str] | None = None
) -> list[str]:
    made = Schedule(graph.__getitem__, (outputs or set()).__contains__, (urgent or set()).__contains__, (done or set()).__contains__)
    for t in targets:
        made.want(t)
    order = []
    while (id := made.next()) is not None:
        order.append(id)
        made.finish(id)
    return order


@st.composite
def acyclic(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 12))
    return {str(i): [str(s) for s in draw(st.lists(st.integers(0, i - 1), max_size=3))] if i else [] for i in range(count)}


@st.composite
def anything(draw: st.DrawFn) -> Graph:
    count = draw(st.integers(1, 8))
    return {str(i): [str(s) for s in draw(st.lists(st.integers(0, count - 1), max_size=2))] for i in range(count)}


def ancestors(graph: Graph, targets: list[str]) -> set[str]:
    found: set[str] = set()
    left = list(targets)
    while left:
        id = left.pop()
        if id not in found:
            found.add(id)
            left += graph[id]
    return found


@settings(max_examples=60, deadline=None)
@given(acyclic(), st.data())
def test_each_ancestor_once_and_after_its_sources(graph: Graph, data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.sampled_from(list(graph)), min_size=1))
    outputs = data.draw(st.sets(st.sampled_from(list(graph))))
    order = run(graph, targets, outputs)
    assert sorted(order) == sorted(ancestors(graph, targets))
    place = {id: i for i, id in enumerate(order)}
    assert all(place[s] < place[id] for id in order for s in graph[id])


@settings(max_examples=60, deadline=None)
@given(anything())
def test_cycles_are_found_exactly_when_there_is_one(graph: Graph) -> None:
    def cyclic(id: str, above: frozenset[str]) -> bool:
        return id in above or any(cyclic(s, above | {id}) for s in graph[id])

    if any(cyclic(id, frozenset()) for id in graph):
        with pytest.raises(Cycle) as caught:
            run(graph, list(graph))
        loop = caught.value.nodes
        assert loop and all(after in graph[id] for id, after in zip(loop, [*loop[1:], loop[0]]))
    else:
        assert len(run(graph, list(graph))) == len(graph)


def slow_order(graph: Graph, targets: list[str], outputs: set[str]) -> list[str]:
    """The rule of preference, said plainly and quadratically."""
    wanted: list[str] = []
    stack: list[str] = []
    for t in targets:
        stack = [t]
        while stack:
            id = stack.pop()
            if id not in wanted:
                wanted.append(id)
                stack += graph[id]
    order: list[str] = []
    while len(order) < len(wanted):
        left = [w for w in wanted if w not in order]
        ready = [w for w in left if all(s in order for s in graph[w])]
        readers = {r: [w for w in left if r in graph[w]] for r in left}
        first = [r for r in ready if r in outputs]
        second = [r for r in ready if any(w in outputs for w in readers[r])]
        third = [r for r in ready if any(x in outputs for w in readers[r] for x in readers[w])]
        order.append((first or second or third or ready)[0])
    return order


@settings(max_examples=80, deadline=None)
@given(acyclic(), st.data())
def test_the_order_is_that_of_the_plain_rule(graph: Graph, data: st.DataObject) -> None:
    outputs = data.draw(st.sets(st.sampled_from(list(graph)), min_size=1))
    targets = sorted(outputs)
    assert run(graph, targets, outputs) == slow_order(graph, targets, outputs)


def test_the_last_source_is_explored_first() -> None:
    assert run({"out": ["a", "b"], "a": [], "b": []}, ["out"]) == ["b", "a", "out"]


def test_urgent_nodes_go_first() -> None:
    assert run({"out": ["a", "b"], "a": [], "b": []}, ["out"], {"out"}, urgent={"a"})[0] == "a"


def test_what_is_done_is_not_entered_but_a_wanted_one_is_handed_out() -> None:
    graph: Graph = {"out": ["a"], "a": ["b"], "b": []}
    assert run(graph, ["out"], done={"a"}) == ["out"]
    assert run(graph, ["a"], done={"a"}) == ["a"]


def test_a_deferred_node_comes_back_after_what_it_needs() -> None:
    graph: Graph = {"out": [], "lazy": ["deep"], "deep": []}
    made = Schedule(graph.__getitem__)
    made.want("out")
    assert made.next() == "out"
    assert made.defer("out", ["lazy"]) == ["lazy", "deep"]
    order = []
    while (id := made.next()) is not None:
        order.append(id)
        made.finish(id)
    assert order == ["deep", "lazy", "out"]


def test_a_node_that_needs_what_waits_for_it_is_a_cycle() -> None:
    made = Schedule({"out": ["x"], "x": []}.__getitem__)
    made.want("out")
    assert made.next() == "x"
    made.defer("x", ["out"])
    with pytest.raises(Cycle, match="x"):
        made.next()


def test_running_nodes_are_waited_for() -> None:
    made = Schedule({"out": ["slow", "quick"], "slow": [], "quick": []}.__getitem__)
    made.want("out")
    assert [made.next(), made.next(), made.next()] == ["quick", "slow", None]
    assert made.running == 2
    made.finish("slow")
    assert made.next() is None
    made.finish("quick")
    assert made.next() == "out"


def test_an_expansion_runs_its_outputs_too() -> None:
    graph: Graph = {"p": [], "a": [], "side": ["a"], "b": ["a"]}
    made = Schedule(graph.__getitem__, {"side"}.__contains__)
    made.want("p")
    assert made.next() == "p"
    made.expand("p", ["side"], ["b"])
    order = []
    while (id := made.next()) is not None:
        order.append(id)
        made.finish(id)
    assert order == ["a", "side", "b", "p"]


def test_wide_and_deep_graphs_are_quick() -> None:
    layers: Graph = {f"{r}.{c}": [f"{r - 1}.{k}" for k in range(40)] if r else [] for r in range(40) for c in range(40)}
    began = time.process_time()
    assert len(run(layers, [f"39.{c}" for c in range(40)], {f"39.{c}" for c in range(40)})) == 1600
    assert time.process_time() - began < 4

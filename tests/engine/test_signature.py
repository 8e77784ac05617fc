from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from backend.engine.signature import again, encode, personal_types, signatures, unique, why
from backend.graph.document import Prompt
from tests.graph.toys import REGISTRY, n

CONSTANTS = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=8) | st.floats(allow_nan=False)
CONSTANTS = CONSTANTS | st.lists(CONSTANTS, max_size=3) | st.dictionaries(st.text(max_size=3), CONSTANTS, max_size=3)


def sign(raw: dict[str, Any], changed: dict[str, bytes] | None = None) -> dict[str, bytes]:
    return signatures(Prompt.parse(raw).nodes, REGISTRY, changed)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Any acyclic graph: node i reads only from nodes before it."""
    raw: dict[str, Any] = {}
    for i in range(draw(st.integers(1, 10))):
        inputs: dict[str, Any] = {}
        for name in draw(st.sets(st.sampled_from("abcd"))):
            if i and draw(st.booleans()):
                inputs[name] = [f"n{draw(st.integers(0, i - 1))}", draw(st.integers(0, 2))]
            else:
                inputs[name] = {"__value__": draw(CONSTANTS)}
        raw[f"n{i}"] = {"class_type": draw(st.sampled_from(["Add", "Join", "Show"])), "inputs": inputs}
    return raw


def renamed(raw: dict[str, Any]) -> dict[str, Any]:
    """Other ids, other order of nodes and of inputs."""
    new = {id: f"x{len(raw) - k}" for k, id in enumerate(raw)}

    def rewire(value: Any) -> Any:
        return [new[value[0]], value[1]] if isinstance(value, list) else value

    made = {
        new[id]: {"class_type": b["class_type"], "inputs": {k: rewire(b["inputs"][k]) for k in reversed(b["inputs"])}}
        for id, b in raw.items()
    }
    return dict(reversed(made.items()))


@settings(max_examples=50, deadline=None)
@given(documents())
def test_ids_and_order_do_not_matter(raw: dict[str, Any]) -> None:
    one, two = sign(raw), sign(renamed(raw))
    new = {id: f"x{len(raw) - k}" for k, id in enumerate(raw)}
    assert {new[id]: d for id, d in one.items()} == two


def descendants(raw: dict[str, Any], id: str) -> set[str]:
    found = {id}
    for other, body in raw.items():  # sources come before their readers
        if any(isinstance(v, list) and v[0] in found for v in body["inputs"].values()):
            found.add(other)
    return found


@settings(max_examples=50, deadline=None)
@given(documents(), st.data())
def test_changing_an_input_changes_exactly_what_depends_on_it(raw: dict[str, Any], data: st.DataObject) -> None:
    id = data.draw(st.sampled_from(list(raw)))
    changed = {k: {"class_type": b["class_type"], "inputs": dict(b["inputs"])} for k, b in raw.items()}
    changed[id]["inputs"]["a"] = {"__value__": ["something", "else"]}
    one, two = sign(raw), sign(changed)
    assert {k for k in raw if one[k] != two[k]} == descendants(raw, id)


@given(CONSTANTS, CONSTANTS)
def test_values_are_told_apart_by_value_and_type(a: Any, b: Any) -> None:
    def shape(v: Any) -> Any:
        if isinstance(v, list):
            return ["list", [shape(x) for x in v]]
        if isinstance(v, dict):
            return ["dict", {k: shape(x) for k, x in v.items()}]
        return [type(v).__name__, repr(v)]

    assert (encode(a) == encode(b)) == (shape(a) == shape(b))


def test_key_order_in_constants_does_not_matter() -> None:
    assert encode({"a": 1, "b": [{"c": 1, "d": 2}]}) == encode({"b": [{"d": 2, "c": 1}], "a": 1})


def test_what_equals_nothing_never_matches() -> None:
    raw = {"1": n("Source", seed=1, size=float("nan")), "2": n("Show", image=["1", 0])}
    assert sign(raw)["2"] != sign(raw)["2"]
    assert encode([float("nan")]) is None and encode(object()) is None and encode({"a": [object()]}) is None


def test_a_constant_cannot_pose_as_a_link() -> None:
    raw = {"1": n("Add", a=0, b=0), "2": n("Add", a=["1", 0], b=0)}
    digest = sign(raw)["1"]
    for pose in ((digest, 0), [digest, 0]):
        prompt = Prompt.parse(raw)
        prompt.nodes["2"].inputs["a"] = pose
        assert signatures(prompt.nodes, REGISTRY)["2"] != sign(raw)["2"]


def test_fingerprints_count_and_spread() -> None:
    raw = {"1": n("Add", a=0, b=0), "2": n("Add", a=["1", 0], b=0), "3": n("Add", a=5, b=0)}
    one, two = sign(raw, {"1": b"x"}), sign(raw, {"1": b"y"})
    assert {k for k in raw if one[k] != two[k]} == {"1", "2"}


def test_loops_and_gaps_get_digests_that_never_repeat() -> None:
    raw = {"1": n("Add", a=["2", 0], b=0), "2": n("Add", a=["1", 0], b=0), "3": n("Add", a=["gone", 0], b=1), "4": n("Add", a=1, b=1)}
    one, two = sign(raw), sign(raw)
    assert {k for k in raw if one[k] == two[k]} == {"4"} and len(one) == 4


def test_long_chains_and_stacked_diamonds_are_quick() -> None:
    raw = {"0": n("Add", a=0, b=1)} | {str(i): n("Add", a=[str(i - 1), 0], b=[str(i - 1), 0]) for i in range(1, 5000)}
    backwards = dict(reversed(raw.items()))
    began = time.process_time()
    assert sign(raw) == sign(backwards)
    assert time.process_time() - began < 2


def reason(old: dict[str, Any], new: dict[str, Any], id: str, prints: tuple[bytes | None, bytes | None] = (None, None)) -> str:
    a, b = Prompt.parse(old), Prompt.parse(new)
    da = signatures(a.nodes, REGISTRY, {id: prints[0]} if prints[0] else None)
    db = signatures(b.nodes, REGISTRY, {id: prints[1]} if prints[1] else None)
    return why(b.nodes[id], a.nodes[id], db, da, prints[1], prints[0])


def test_the_reason_is_in_words() -> None:
    base = {"1": n("Add", a=0, b=1), "2": n("Add", a=["1", 0], b=1), "9": n("Add", a=9, b=9)}
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"1": n("Add", a=0, b=2)}, "1", "input `b` changed"),
        ({"1": n("Add", a=0, b=2)}, "2", "input `a` comes from node 1, which runs again"),
        ({"2": n("Add", a=["9", 0], b=1)}, "2", "input `a` was wired to node 9"),
        ({"2": n("Add", a=5, b=1)}, "2", "input `a` is no longer wired"),
        ({"1": n("Add", a=["9", 0], b=1)}, "1", "input `a` was wired to node 9"),
        ({"1": n("Add", a=0)}, "1", "input `b` was removed"),
        ({"1": n("Add", a=0, b=1, c=1)}, "1", "input `c` was added"),
        ({"1": n("Join", a=0, b=1)}, "1", "its type changed from Add"),
        ({"1": n("Add", a=False, b=1)}, "1", "input `a` changed"),
        ({}, "1", "its earlier result is not kept any more"),
    ]
    for change, id, words in cases:
        assert reason(base, base | change, id) == words
    assert reason(base, base, "1", (b"x", b"y")) == "what it reads changed"


@settings(max_examples=60, deadline=None)
@given(documents(), st.data())
def test_digests_of_a_similar_document_are_those_of_it_alone(raw: dict[str, Any], data: st.DataObject) -> None:
    new = {id: {**node, "inputs": dict(node["inputs"])} for id, node in raw.items()}
    for id in data.draw(st.lists(st.sampled_from(list(raw)), max_size=3)):
        new[id]["inputs"]["e"] = {"__value__": data.draw(CONSTANTS)}
    prints = [data.draw(st.dictionaries(st.sampled_from(list(raw)), st.sampled_from([b"x", b"y"]), max_size=2)) for _ in range(2)]
    old = Prompt.parse(raw)
    prompt = Prompt.parse(new, old)
    personal = personal_types(prompt.nodes, REGISTRY)
    was = signatures(old.nodes, REGISTRY, prints[0])
    made = again(prompt.nodes, personal, prints[1], old.nodes, prints[0], was)
    assert made == signatures(prompt.nodes, REGISTRY, prints[1])


def test_what_equals_nothing_equals_nothing_the_next_time_either() -> None:
    prompt = Prompt.parse({"1": n("Add", a=0, b=0), "2": n("Add", a=["1", 0], b=0), "3": n("Add", a=1, b=0)})
    prompt.nodes["1"].inputs["b"] = object()
    old = signatures(prompt.nodes, REGISTRY)
    made = again(prompt.nodes, frozenset(), {}, prompt.nodes, {}, old)
    assert made is not None and {id for id in made if made[id] != old[id]} == {"1", "2"}
    assert len(unique()) != len(old["3"])


def test_other_links_or_types_mean_a_new_start() -> None:
    base = {"1": n("Add", a=0, b=0), "2": n("Add", a=["1", 0], b=0)}
    old = Prompt.parse(base)
    was = signatures(old.nodes, REGISTRY)
    for change in ({"2": n("Add", a=["1", 1], b=0)}, {"2": n("Add", a=1, b=0)}, {"1": n("Join", a=0, b=0)}, {"3": n("Add", a=0, b=0)}):
        assert again(Prompt.parse(base | change, old).nodes, frozenset(), {}, old.nodes, {}, was) is None

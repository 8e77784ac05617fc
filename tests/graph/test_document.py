from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.jsonable import dumps, loads
from backend.graph.document import BadLink, InvalidPrompt, Link, Prompt


def test_inputs_are_values_or_links() -> None:
    raw = {
        "3": {
            "class_type": "T",
            "inputs": {"a": 1, "b": ["4", 0], "c": {"__value__": ["4", 0]}, "d": [1, 2, 3], "e": [4, 0], "f": {"x": 1}},
        }
    }
    node = Prompt.parse(raw).nodes["3"]
    assert node.inputs == {"a": 1, "b": Link("4", 0), "c": ["4", 0], "d": BadLink([1, 2, 3]), "e": BadLink([4, 0]), "f": {"x": 1}}
    assert node.links() == {"b": Link("4", 0)}


def test_links_write_themselves_as_the_document_does() -> None:
    assert loads(dumps({"model": Link("4", 0)})) == {"model": ["4", 0]}


def test_extra_keys_are_kept() -> None:
    raw = {"1": {"class_type": "T", "_meta": {"title": "Mine"}, "is_changed": [5], "x": 1}}
    prompt = Prompt.parse(raw)
    assert (prompt.nodes["1"].title, prompt.nodes["1"].is_changed, prompt.to_json()) == ("Mine", [5], raw)


@pytest.mark.parametrize(
    ("raw", "details"),
    [
        ([1], ""),
        ("x", ""),
        (None, ""),
        ({"1": None}, "Node ID '#1'"),
        ({"1": []}, "Node ID '#1'"),
        ({"1": {}}, "Node ID '#1'"),
        ({"1": {"class_type": 5}}, "Node ID '#1'"),
        ({"1": {"class_type": "T", "inputs": [1]}}, "Node ID '#1'"),
        ({"": {"class_type": "T"}}, "Node ID '#'"),
        ({"a\0b": {"class_type": "T"}}, "Node ID '#a\\0b'"),
        ({"x" * 2**20: {"class_type": "T"}}, "Node ID '#" + "x" * 57 + "...'"),
    ],
)
def test_what_is_no_document_is_refused_naming_the_node(raw: Any, details: str) -> None:
    with pytest.raises(InvalidPrompt) as caught:
        Prompt.parse(raw)
    assert (caught.value.type, caught.value.details) == ("invalid_prompt", details)


def test_changed_constants_are_written_without_touching_the_original() -> None:
    raw = {"1": {"class_type": "T", "inputs": {"a": "5", "b": ["2", 0]}, "_meta": {}}, "2": {"class_type": "T", "inputs": {}}}
    before = loads(dumps(raw))
    prompt = Prompt.parse(raw)
    changed = prompt.with_inputs({"1": {"a": 5, "l": ["x", 1]}})
    assert raw == before and prompt.nodes["1"].inputs["a"] == "5"
    assert changed.to_json()["1"]["inputs"] == {"a": 5, "b": ["2", 0], "l": {"__value__": ["x", 1]}}
    assert Prompt.parse(changed.to_json()).nodes["1"].inputs["l"] == ["x", 1]
    assert prompt.with_inputs({}) is prompt


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(st.integers() | st.text(max_size=3), max_size=3)


@given(
    st.dictionaries(
        st.text(max_size=4), st.none() | st.dictionaries(st.sampled_from(["class_type", "inputs", "x"]), VALUES, max_size=3), max_size=3
    )
)
def test_parsing_either_succeeds_or_names_a_fault(raw: Any) -> None:
    problem = None
    try:
        prompt = Prompt.parse(raw)
    except InvalidPrompt as found:
        problem = found
    assert problem.message if problem else prompt.to_json() == raw

"""`--set node.input=value`: which node is meant, how values are read, and what the refusals say."""

from __future__ import annotations

import pytest

from backend.base.errors import BadInput
from backend.cli.assignments import assign, find, value

GRAPH = {
    "1": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["9", 0]}, "_meta": {"title": "Prompt"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": ""}, "_meta": {"title": "Not v1.5"}},
    "3:8": {"class_type": "KSampler", "inputs": {"seed": 1, "cfg": 8.0, "positive": ["1", 0]}},
}
INFO = {"KSampler": {"input": {"required": {"seed": ["INT", {}], "denoise": ["FLOAT", {}]}, "optional": {}}}}


@pytest.mark.parametrize(
    ("assignment", "node", "input", "expected"),
    [
        ("1.text=a dog = a friend", "1", "text", "a dog = a friend"),
        ("prompt.text=7", "1", "text", "7"),
        ("Not v1.5.text=x", "2", "text", "x"),
        ("3:8.seed=18446744073709551615", "3:8", "seed", 18446744073709551615),
        ("KSampler.cfg=4.5", "3:8", "cfg", 4.5),
        ("KSampler.denoise=0.5", "3:8", "denoise", 0.5),
        ('3:8.positive=["2", 0]', "3:8", "positive", ["2", 0]),
    ],
)
def test_an_assignment_reaches_the_node_it_names(assignment: str, node: str, input: str, expected: object) -> None:
    before = GRAPH[node]["inputs"].get(input)
    changed = assign(GRAPH, [assignment], INFO)
    assert changed[node]["inputs"][input] == expected
    assert GRAPH[node]["inputs"].get(input) == before, "the graph handed in stays as it was"
    untouched = {id: n["inputs"] for id, n in changed.items() if id != node}
    assert untouched == {id: n["inputs"] for id, n in GRAPH.items() if id != node}


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("seed=3", "node.input=value"),
        ("1.text", "node.input=value"),
        ("Nobody.text=x", "1 (Prompt), 2 (Not v1.5), 3:8 (KSampler)"),
        ("3:8.sed=4", "cfg, denoise, positive, seed"),
        ("CLIPTextEncode.text=x", "ids: 1, 2"),
    ],
)
def test_a_wrong_assignment_is_refused_with_what_there_is(assignment: str, says: str) -> None:
    with pytest.raises(BadInput) as caught:
        assign(GRAPH, [assignment], INFO)
    assert says in str(caught.value)


def test_an_id_wins_over_a_title_that_looks_like_one() -> None:
    graph = {"1": {"class_type": "A", "inputs": {}}, "2": {"class_type": "B", "inputs": {}, "_meta": {"title": "1"}}}
    assert find(graph, "1") == "1"


def test_text_that_is_no_json_stays_text_where_a_number_was() -> None:
    assert value("euler", 5) == "euler"
    assert value("true", False) is True
    assert value("true", "false") == "true"

from __future__ import annotations

from typing import Any

import pytest

from backend.base.errors import BadInput
from backend.engine import lists
from backend.engine.context import Blocker, Expand, Ui
from backend.graph.schema import NodeType, Output


def kind(*is_list: bool, many: bool = True) -> NodeType:
    outputs = tuple(Output(f"o{i}", "X", flag) for i, flag in enumerate(is_list))
    return NodeType("T", "T", "c", "", (), outputs, None, many=many)


def test_shorter_lists_repeat_their_last_value() -> None:
    assert lists.calls({"a": [1, 2, 3], "b": ["x"], "c": [True, False]}, False) == [
        {"a": 1, "b": "x", "c": True},
        {"a": 2, "b": "x", "c": False},
        {"a": 3, "b": "x", "c": False},
    ]


def test_no_inputs_mean_one_call() -> None:
    assert lists.calls({}, False) == [{}] == lists.calls({}, True)


def test_whole_lists() -> None:
    given = {"a": (1,), "b": [1, 2]}
    made = lists.calls(given, True)
    assert made == [{"a": [1], "b": [1, 2]}] and made[0]["b"] is not given["b"]


def test_an_empty_list_is_said() -> None:
    with pytest.raises(BadInput, match="`a`"):
        lists.calls({"a": [], "b": [1, 2]}, False)
    assert lists.calls({"a": []}, True) == [{"a": []}]


def test_blockers_are_found_per_call() -> None:
    stop = Blocker("no")
    given = {"a": [1, stop], "b": [2]}
    assert lists.blocker(given, 0, False) is None
    assert lists.blocker(given, 1, False) is stop
    assert lists.blocker(given, 5, False) is stop
    assert lists.blocker(given, 0, True) is stop


@pytest.mark.parametrize(
    ("value", "type", "outputs"),
    [
        ((1, 2), kind(False, False), (1, 2)),
        ([1, 2], kind(False, False), [1, 2]),
        (None, kind(), ()),
        ((1, 2), kind(False, many=False), ((1, 2),)),
        (None, kind(False, many=False), (None,)),
        (Ui({"a": [1]}, 5), kind(False), (5,)),
        (Expand({}, [7]), kind(False), (7,)),
    ],
)
def test_what_nodes_return(value: Any, type: NodeType, outputs: Any) -> None:
    assert lists.read(value, type).outputs == outputs


def test_a_blocker_blocks_every_output() -> None:
    stop = Blocker()
    assert lists.read(stop, kind(False, True)).outputs == (stop, stop)


@pytest.mark.parametrize("value", [5, "text", None, {"a": 1}])
def test_what_is_no_tuple_is_refused(value: Any) -> None:
    with pytest.raises(BadInput, match="T returned"):
        lists.read(value, kind(False, False))


def test_list_outputs_are_joined_others_collected() -> None:
    stop = Blocker()
    assert lists.gather([(1, [1, 2]), (2, stop), (3, [])], kind(False, True)) == [[1, 2, 3], [1, 2, stop]]
    assert lists.gather([(1,), (2, 5)], kind(False, False)) == [[1, 2], [None, 5]]
    assert lists.gather([], kind(False)) == []


def test_shown_values_are_taken_apart() -> None:
    assert lists.join_shown([{"text": "ab", "animated": (True,)}, {"text": ["c"]}]) == {"text": ["a", "b", "c"], "animated": [True]}


@pytest.mark.parametrize("shown", [5, {"text": 5}, {"text": None}])
def test_what_cannot_be_shown_is_refused(shown: Any) -> None:
    with pytest.raises(BadInput, match="a fault of the node"):
        lists.join_shown([shown])

from __future__ import annotations

import json

from backend.graph.document import difference
from backend.graph.reader import KEPT, Reader, Recent
from tests.graph.toys import n


def test_equal_texts_give_one_prompt_and_equal_nodes_one_node() -> None:
    reader = Reader()
    raw = {"1": n("Add", a=1, b=2), "2": n("Add", a=["1", 0], b=3)}
    text = json.dumps(raw).encode()
    first = reader.read(text)
    assert reader.read(bytes(bytearray(text))) is first
    second = reader.parse(raw | {"2": n("Add", a=["1", 0], b=4)})
    assert second.nodes["1"] is first.nodes["1"] and second.nodes["2"].inputs["b"] == 4
    assert difference(first.nodes, second.nodes) == ["2"]


def test_numbers_that_compare_equal_are_not_the_same_constant() -> None:
    reader = Reader()
    values = [1, 1.0, True, -0.0, 0, 0.0, False]
    for value in values:
        prompt = reader.parse({"1": n("Add", a=value, b=[1, {"c": value}])})
        got = prompt.nodes["1"].inputs
        assert repr(got["a"]) == repr(value) and repr(prompt.raw["1"]["inputs"]["b"]) == repr([1, {"c": value}])


def test_the_last_few_are_kept() -> None:
    recent: Recent[int] = Recent()
    for i in range(10):
        recent.put(b"%d" % i, i)
    assert [recent.get(b"%d" % i) for i in range(10)] == [None] * (10 - KEPT) + list(range(10 - KEPT, 10))
    recent.put(b"x" * (9 << 20), 1)
    assert recent.get(b"9") is None and recent.get(b"x" * (9 << 20)) == 1

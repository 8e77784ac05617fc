from __future__ import annotations

import pytest

from backend.base import events as ev
from backend.base.jsonable import dumps, loads

EXAMPLES = [
    ev.RunStarted(5),
    ev.NodesCached((), 1),
    ev.NodesCached(("1", "2"), 1),
    ev.NodeWhy("1", "input `seed` changed"),
    ev.NodeStarted("1"),
    ev.NodeStarted("1.0.0.2", "1", "1", "1"),
    ev.Progress("1", 2, 20),
    ev.NodeShown("1", {"images": [{"filename": "a"}]}),
    ev.NodeShown("1", None, True),
    ev.NodeShown("1.0.0.1", None, False, "1", "1", "1"),
    ev.NodesAgain(("1", "2"), ({"images": [{"filename": "a"}]}, None)),
    ev.NodeFinished("1", 0.5),
    ev.NodeFinished("1"),
    ev.NodeBlocked("1", "T", "Execution Blocked: x", ("0",), {}, ()),
    ev.NodeText("1", "t"),
    ev.NodeLog("1", "t"),
    ev.NodePart("5", "load", "a.safetensors (model)", 1700000000000, 0.5),
    ev.PackEvent("my.event", {"a": 1}, "client"),
    ev.RunSucceeded(7),
    ev.RunFailed("1", "T", "ValueError", "no", "hint", ("line",), {"a": [1]}, ("0",), ("0", "1"), 9),
    ev.RunInterrupted("1", "T", (), 9),
]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda e: e.code)
def test_events_survive_the_pipe(event: ev.Event) -> None:
    assert ev.from_json(loads(dumps(ev.to_json(event)))) == event


def test_every_kind_has_an_example_and_its_own_code() -> None:
    assert {type(e) for e in EXAMPLES} == set(ev.KINDS.values())
    assert all(code == kind.code for code, kind in ev.KINDS.items())


def test_the_form_is_compact() -> None:
    assert ev.to_json(ev.NodeStarted("7")) == ["start", "7"]
    assert ev.to_json(ev.NodeFinished("7")) == ["finish", "7"]


def test_previews_stay_in_the_process() -> None:
    event = ev.Progress("1", 1, 2, ev.Preview(lambda: ("png", b"")))
    assert ev.to_json(event) == ["progress", "1", 1, 2]


@pytest.mark.parametrize("row", [[], ["?"], ["start"], ["start", "1", "2", "3", "4", "5"]])
def test_what_is_no_event_is_refused(row: list[str]) -> None:
    with pytest.raises(ValueError, match="not an event"):
        ev.from_json(row)

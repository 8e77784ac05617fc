from __future__ import annotations

import json
import struct
from typing import Any

from backend.base import events as ev
from backend.server import wire
from backend.server.wire import Message, Picture, RunWire


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def frames(run: RunWire, *events: ev.Event) -> list[Any]:
    told = [frame for event in events for frame in run.translate(event)]
    return [json.loads(f.frame()) if isinstance(f, Message) else f for f in told]


def test_number_is_added_at_the_top_level() -> None:
    message = wire.message("x", {"a": "é"})
    assert json.loads(message.frame()) == {"type": "x", "data": {"a": "é"}}
    assert json.loads(message.frame(7)) == {"type": "x", "data": {"a": "é"}, "seq": 7}


def test_small_graphs_get_the_whole_map_each_time() -> None:
    run = RunWire("j", Clock())
    for n in range(20):
        told = frames(run, ev.NodeStarted(str(n)), ev.NodeFinished(str(n)))
        assert [f["type"] for f in told] == ["progress_state", "executing", "progress_state"]
        assert len(told[-1]["data"]["nodes"]) == n + 1


def volume(n: int) -> int:
    run = RunWire("j", Clock())
    told = frames(run, *(e for i in range(n) for e in (ev.NodeStarted(str(i)), ev.NodeFinished(str(i)))), ev.RunSucceeded(1))
    maps = [f for f in told if f["type"] == "progress_state"]
    assert len(maps[-1]["data"]["nodes"]) == n
    assert all(s["state"] == "finished" for s in maps[-1]["data"]["nodes"].values())
    return sum(len(json.dumps(f)) for f in told)


def test_bytes_grow_with_the_nodes_and_not_their_square() -> None:
    assert volume(4000) < 12 * volume(400)


def test_time_earns_maps_of_large_graphs() -> None:
    clock = Clock()
    run = RunWire("j", clock)
    frames(run, *(ev.NodeStarted(str(i)) for i in range(100)))
    told = 0
    for step in range(40):
        clock.now += 0.5
        told += len([f for f in frames(run, ev.Progress("7", step, 40)) if f["type"] == "progress_state"])
    assert told >= 20


def test_ids_with_quotes_are_escaped() -> None:
    run = RunWire('j"\n', Clock())
    told = frames(run, ev.NodeStarted('a"b', "d'\\", "p", "r"), ev.NodeShown('a"b', None, True, "d'\\", "p", "r"))
    assert told[1]["data"] == {"node": 'a"b', "display_node": "d'\\", "prompt_id": 'j"\n'}
    assert told[0]["data"]["nodes"]['a"b']["parent_node_id"] == "p"
    assert told[2]["data"]["output"] is None
    assert run.outputs == {}


def test_what_is_told_again_leaves_out_what_has_passed() -> None:
    run = RunWire("j", Clock())
    events = [
        ev.RunStarted(1),
        ev.NodeStarted("1"),
        ev.Progress("1", 1, 2),
        ev.NodeText("1", "t"),
        ev.NodeFinished("1"),
        ev.RunSucceeded(2),
    ]
    kinds = [json.loads(m.frame())["type"] for e in events for m in run.replayed(e)]
    assert kinds == ["execution_start", "executing", "execution_success"]


def test_binary_frames() -> None:
    picture = Picture("j", "n", "d", None, "r", "png", b"data")
    assert picture.plain() == struct.pack(">II", 1, 2) + b"data"
    kind, length = struct.unpack(">II", picture.with_metadata()[:8])
    assert kind == 4
    assert json.loads(picture.with_metadata()[8 : 8 + length])["image_type"] == "image/png"
    assert wire.text_frame("ü", "x") == struct.pack(">II", 3, 2) + "üx".encode()

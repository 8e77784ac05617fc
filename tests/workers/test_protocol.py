from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.errors import BadInput
from backend.graph.schema import Input
from backend.workers.protocol import Frame, Outbox, binary_frame, message_frame, read_frame, read_frame_blocking

JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda c: st.lists(c, max_size=3), max_leaves=5)


@given(st.lists(st.tuples(st.dictionaries(st.text(max_size=5), JSON, max_size=3), st.none() | st.binary(max_size=50)), max_size=5))
def test_frames_come_back(items: list[tuple[dict[str, Any], bytes | None]]) -> None:
    data = b"".join(message_frame(m) if p is None else binary_frame(m, p) for m, p in items)
    stream = io.BytesIO(data)
    found = []
    while (frame := read_frame_blocking(stream)) is not None:
        found.append(frame)
    assert found == [Frame(m, p or b"") for m, p in items]


@pytest.mark.parametrize("odd", [1 << 70, "half \ud800 of a pair", {1: "a"}, [Input("x", "INT")]])
def test_what_the_quick_encoder_refuses_travels_too(odd: Any) -> None:
    frame = read_frame_blocking(io.BytesIO(message_frame({"odd": odd, "next": [0.1, "ä"]})))
    assert frame is not None and frame.message == json.loads(json.dumps({"odd": odd, "next": [0.1, "ä"]}))


@pytest.mark.parametrize("data", [b"\x00\x00\x00\x00\x00", b"\xff\xff\xff\xff\x00", b"\x02\x00\x00\x00\x07x", b"\x02\x00\x00\x00\x00{"])
def test_noise_on_the_pipe_is_an_error(data: bytes) -> None:
    with pytest.raises(BadInput, match=r"pipe|frame"):
        read_frame_blocking(io.BytesIO(data))


@pytest.mark.parametrize("cut", [0, 3, 5, 9])
async def test_cut_stream_ends(cut: int) -> None:
    data = message_frame({"op": "beat"})[:cut]
    assert read_frame_blocking(io.BytesIO(data)) is None
    stream = asyncio.StreamReader()
    stream.feed_data(data)
    stream.feed_eof()
    assert await read_frame(stream) is None


class Box:
    """An outbox that writes into a list of frames."""

    def __init__(self, **options: Any) -> None:
        self.data = bytearray()
        self.lock = threading.Lock()
        self.outbox = Outbox(self, lambda job, event: event, lambda: {"figure": 1}, **options)  # type: ignore[arg-type]

    def write(self, data: Any) -> int:
        with self.lock:
            part = bytes(data)[:1000]  # pipes take part of what is given
            self.data += part
        return len(part)

    def frames(self) -> list[Frame]:
        self.outbox.close()
        stream = io.BytesIO(bytes(self.data))
        found = []
        while (frame := read_frame_blocking(stream)) is not None:
            found.append(frame)
        return found


def test_outbox_keeps_the_order_and_gathers_events() -> None:
    box = Box()
    for n in range(1000):
        box.outbox.event("a", ["e", n])
    box.outbox.event("a", binary_frame({"op": "preview"}, b"jpeg"))
    box.outbox.event("a", ["e", 1000])
    box.outbox.message({"op": "done", "id": "a"})
    box.outbox.event("b", ["e", 0])
    frames = [f for f in box.frames() if f.message["op"] != "beat"]
    events = [(f.message["id"], e[1]) for f in frames if f.message["op"] == "events" for e in f.message["batch"]]
    assert events == [("a", n) for n in range(1001)] + [("b", 0)]
    assert len(frames) < 20
    ops = [f.message["op"] for f in frames]
    assert ops[-5:] == ["events", "preview", "events", "done", "events"]


def test_outbox_beats_while_it_has_nothing_to_say() -> None:
    box = Box(every_s=0.02)
    threading.Event().wait(0.3)
    beats = [f for f in box.frames() if f.message["op"] == "beat"]
    assert len(beats) >= 4
    assert beats[0].message["figure"] == 1


def test_prints_do_not_disturb_the_frames() -> None:
    code = """
import os, subprocess, sys
from backend.workers.protocol import message_frame, take_stdio
incoming, outgoing = take_stdio()
print("from python"); os.write(1, b"from C\\n"); subprocess.run(["echo", "from a child"])
assert sys.stdin.read() == ""
outgoing.write(message_frame({"op": "hello", "got": incoming.read().decode()}))
"""
    root = os.path.abspath(os.path.join(os.path.dirname(__file__), "../.."))
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=b"for the protocol",
        capture_output=True,
        timeout=30,
        cwd=root,
        env={**os.environ, "PYTHONPATH": root},
    )
    frame = read_frame_blocking(io.BytesIO(done.stdout))
    assert frame == Frame({"op": "hello", "got": "for the protocol"}), done.stderr
    for word in (b"from python", b"from C", b"from a child"):
        assert word in done.stderr


def test_json_is_compact() -> None:
    assert message_frame({"op": "beat"})[5:] == json.dumps({"op": "beat"}, separators=(",", ":")).encode()

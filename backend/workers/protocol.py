"""Frames between front and worker, over the child's stdin and stdout.

`u32 length | u8 kind | body`, little-endian, `length` counts kind and body. Kind 0 is a JSON message `{"op": ...}`; kind 1 is
binary: `u32 n | JSON header[n] | payload`.

Front → worker: `run {job}` (binary, its payload is the prompt), `cancel {id}`, `free {unload_models, free_memory}`,
`call {rid, method, args}`, `stop`.
Worker → front: `types {nodes}` while it starts, then `hello {...}`; `events {id, batch}`, preview (binary), `done {id, outcome}`, `reply
{rid, ok, value}`, `beat {...}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from backend.base.errors import BadInput

MOST_BYTES = 1 << 30
JSON, BINARY = 0, 1
_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<IB")


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame: `message` is the JSON message or the header; `payload` is empty for kind 0."""

    message: dict[str, Any]
    payload: bytes = b""


def json_frame(text: bytes) -> bytes:
    """Wrap JSON text."""
    return _HEAD.pack(len(text) + 1, JSON) + text


def _encoded(message: dict[str, Any]) -> bytes:
    """JSON text. What only Python's own encoder takes (halves of surrogate pairs, integers of more than 64 bits) is left to it."""
    try:
        return orjson.dumps(message)
    except TypeError:
        return json.dumps(message, separators=(",", ":")).encode()


def message_frame(message: dict[str, Any]) -> bytes:
    """Encode and wrap a message."""
    return json_frame(_encoded(message))


def binary_frame(header: dict[str, Any], payload: bytes) -> bytes:
    """Wrap a payload with its header."""
    head = _encoded(header)
    return _HEAD.pack(1 + 4 + len(head) + len(payload), BINARY) + _LENGTH.pack(len(head)) + head + payload


def job_frame(about: str, prompt: str) -> bytes:
    """Wrap a job: `about` is the JSON text of `{id, targets, extra}`; the prompt travels as it is, so that only who needs it reads it."""
    head = f'{{"op":"run","job":{about}}}'.encode()
    payload = prompt.encode()
    return _HEAD.pack(1 + 4 + len(head) + len(payload), BINARY) + _LENGTH.pack(len(head)) + head + payload


def parse(kind: int, body: bytes) -> Frame:
    """Decode a frame's body. Raises BadInput for an unknown kind or a header that is no JSON."""
    try:
        if kind == JSON:
            return Frame(json.loads(body))
        if kind == BINARY:
            (n,) = _LENGTH.unpack_from(body)
            return Frame(json.loads(body[4 : 4 + n]), body[4 + n :])
    except (ValueError, struct.error) as error:
        raise BadInput(f"A frame between front and worker is damaged: {error}.") from error
    raise BadInput(f"A frame between front and worker has the unknown kind {kind}.")


def _checked(length: int) -> int:
    if not 1 <= length <= MOST_BYTES:
        raise BadInput(f"A frame between front and worker claims {length} bytes.", hint="Something else wrote to the worker's pipe.")
    return length


async def read_frame(stream: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None at the end of the stream."""
    try:
        length, kind = _HEAD.unpack(await stream.readexactly(_HEAD.size))
        return parse(kind, await stream.readexactly(_checked(length) - 1))
    except asyncio.IncompleteReadError:
        return None


def read_frame_blocking(stream: BinaryIO) -> Frame | None:
    """The next frame, or None at the end of the stream."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, kind = _HEAD.unpack(head)
    body = stream.read(_checked(length) - 1)
    return parse(kind, body) if len(body) == length - 1 else None


def take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """Claim the process's stdin and stdout for frames.

    Whatever prints afterwards, in Python or in C, goes to stderr, and reading stdin gives the end of the file at once.
    """
    incoming = os.fdopen(os.dup(0), "rb", buffering=1 << 16)
    outgoing = os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return incoming, outgoing


class Outbox:
    """The worker's only writer: gathers events for a few milliseconds, keeps the order, and beats when there is nothing to say.

    `encode(job, event)` gives the event's compact JSON, or bytes that are a frame of their own; it runs on the writing thread.
    `beat` gives the facts of a beat.
    """

    FLUSH_S = 0.004
    MOST_EVENTS = 400

    def __init__(
        self, stream: BinaryIO, encode: Callable[[str, Any], Any], beat: Callable[[], dict[str, Any]], every_s: float = 1.0
    ) -> None:
        self._stream = stream
        self._encode = encode
        self._beat = beat
        self._every = every_s
        self._items: deque[tuple[str, Any] | bytes] = deque()
        self._wake = threading.Event()
        self._urgent = threading.Event()  # a message: do not gather any longer
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="outbox", daemon=True)
        self._thread.start()

    def event(self, job: str, event: Any) -> None:
        """Send an event of a job, soon."""
        self._items.append((job, event))
        if not self._wake.is_set():
            self._wake.set()

    def message(self, message: dict[str, Any]) -> None:
        """Send a message after everything that was handed in before."""
        self._items.append(message_frame(message))
        self._urgent.set()
        self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what is left and end the thread."""
        self._closing = True
        self._urgent.set()
        self._wake.set()
        self._thread.join(timeout)

    def _loop(self) -> None:
        spoke = time.monotonic()
        while True:
            woken = self._wake.wait(max(0.0, spoke + self._every - time.monotonic()))
            if woken:
                self._urgent.wait(self.FLUSH_S)
            self._urgent.clear()
            self._wake.clear()
            if self._items:
                self._write_gathered()
            elif self._closing:
                return
            if time.monotonic() >= spoke + self._every:
                self._write(message_frame({"op": "beat", **self._beat()}))
                spoke = time.monotonic()

    def _write_gathered(self) -> None:
        items = self._items
        job = ""
        batch: list[Any] = []
        while items:
            item = items.popleft()
            if isinstance(item, tuple):
                if item[0] != job or len(batch) >= self.MOST_EVENTS:
                    self._write_batch(job, batch)
                    job, batch = item[0], []
                encoded = self._encode(job, item[1])
                if isinstance(encoded, bytes):
                    self._write_batch(job, batch)
                    batch = []
                    self._write(encoded)
                else:
                    batch.append(encoded)
            else:
                self._write_batch(job, batch)
                batch = []
                self._write(item)
        self._write_batch(job, batch)

    def _write_batch(self, job: str, batch: list[Any]) -> None:
        if batch:
            self._write(message_frame({"op": "events", "id": job, "batch": batch}))

    def _write(self, frame: bytes) -> None:
        view = memoryview(frame)
        try:
            while view:
                view = view[self._stream.write(view) :]
        except (BrokenPipeError, ValueError, OSError):
            os._exit(0)  # the front is gone; nobody is left to tell

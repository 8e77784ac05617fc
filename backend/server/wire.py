"""Events in the words of the published protocol: JSON and binary frames. (Interop contract, sections 2.2 - 2.4.)

`RunWire` translates the events of one run. It holds what the full-map `progress_state` message needs and the little history
that the entry of a finished job repeats.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from backend.base import events as ev

_SMALL_GRAPH = 32
_BYTES_PER_CHANGE = 400
_BYTES_PER_SECOND = 100_000
_ONE, _TWO = struct.Struct(">I"), struct.Struct(">II")

CLIENT, EVERYONE, CLIENT_OR_EVERYONE, CLIENT_ALONE = "client", "everyone", "client or everyone", "client alone"
"""Who gets a frame: the job's client (and who watches every run); everyone, too, when the job has no client, for `CLIENT_OR_EVERYONE`;
`CLIENT_ALONE` is what a pack says to one page, which must not reach another."""


@dataclass(frozen=True, slots=True)
class Message:
    """A JSON frame. `text` is the envelope without its closing brace, so that a sequence number can be added."""

    text: str
    to: str = CLIENT
    lasting: bool = True

    def frame(self, seq: int | None = None) -> bytes:
        """The frame's bytes; with `seq` a top-level number for clients that asked for it."""
        end = "}" if seq is None else f',"seq":{seq}}}'
        return (self.text + end).encode()


def message(type: str, data: Any, to: str = CLIENT, lasting: bool = True) -> Message:
    """Compose a JSON frame."""
    return Message(f'{{"type":{quote(type)},"data":{dump(data)}', to, lasting)


def dump(value: Any) -> str:
    """JSON text as the protocol writes it."""
    return _ENCODE(value)


quote: Callable[[str], str] = json.encoder.encode_basestring_ascii
_ENCODE = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


def status(remaining: int, sid: str | None = None) -> Message:
    """How many jobs wait or run; with `sid` the first frame of a socket."""
    data: dict[str, Any] = {"status": {"exec_info": {"queue_remaining": remaining}}}
    if sid is not None:
        data["sid"] = sid
    return message("status", data, lasting=False)


def executing_now(node: str) -> Message:
    """Tells a client that comes back what is running (no prompt id, by protocol)."""
    return message("executing", {"node": node}, lasting=False)


def logs(entries: list[dict[str, str]]) -> Message:
    """Log lines for a subscriber."""
    return message("logs", {"entries": entries, "size": None}, lasting=False)


def features(flags: Mapping[str, Any]) -> Message:
    """The answer to a client's feature flags."""
    return message("feature_flags", flags, lasting=False)


def end_of_run(job: str) -> Message:
    """The last frame of a run, however it ended."""
    return message("executing", {"node": None, "prompt_id": job})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of work in progress, or one that a node sends as its result."""

    job: str
    node: str
    display: str
    parent: str | None
    real: str
    format: str
    data: bytes

    def plain(self) -> bytes:
        """Frame type 1."""
        return _TWO.pack(1, 2 if self.format == "png" else 1) + self.data

    def with_metadata(self) -> bytes:
        """Frame type 4."""
        about = dump(
            {
                "node_id": self.node,
                "prompt_id": self.job,
                "display_node_id": self.display,
                "parent_node_id": self.parent,
                "real_node_id": self.real,
                "image_type": f"image/{self.format}",
            }
        ).encode()
        return _TWO.pack(4, len(about)) + about + self.data


def text_frame(node: str, text: str) -> bytes:
    """Frame type 3: text shown on a node."""
    name = node.encode()
    return _TWO.pack(3, len(name)) + name + text.encode()


class RunWire:
    """Translates the events of one run, in order. `clock` gives monotonic seconds."""

    def __init__(self, job: str, clock: Callable[[], float]) -> None:
        self.job = job
        self.current: str | None = None
        self.outputs: dict[str, Any] = {}
        self.meta: dict[str, Any] = {}
        self.messages: list[list[Any]] = []
        self._job = quote(job)
        self._clock = clock
        self._places: dict[str, tuple[str, str | None, str]] = {}
        self._states: dict[str, str] = {}
        self._bytes = 0
        self._credit = 0.0
        self._last = clock()
        self._unsent = False

    def place(self, node: str) -> tuple[str, str | None, str]:
        """Display node, parent and real node of a node."""
        return self._places.get(node) or (node, None, node)

    def translate(self, event: ev.Event) -> Iterator[Message | bytes]:
        """The frames an event becomes, in their order; bytes are binary text frames for the job's client."""
        handler = _HANDLERS.get(type(event))
        return iter(()) if handler is None else handler(self, event)

    def replayed(self, event: ev.Event) -> Iterator[Message]:
        """Like `translate`, but only what is worth telling again."""
        return (m for m in self.translate(event) if isinstance(m, Message) and m.lasting)

    def _started(self, e: ev.NodeStarted) -> Iterator[Message]:
        display, real = e.display or e.node, e.real or e.node
        if e.display or e.parent or e.real:
            self._places[e.node] = (display, e.parent, real)
        self.current = display
        yield from self._state(e.node, 0, 1, "running")
        yield Message(f'{{"type":"executing","data":{{"node":{quote(e.node)},"display_node":{quote(display)},"prompt_id":{self._job}}}')

    def _progress(self, e: ev.Progress) -> Iterator[Message]:
        yield from self._state(e.node, e.value, e.total, "running")
        yield self.progress_frame(e)

    def progress_frame(self, e: ev.Progress) -> Message:
        """The `progress` frame alone (a picture may have to stand before or after it)."""
        data = {"value": e.value, "max": e.total, "prompt_id": self.job, "node": e.node}
        return message("progress", data, CLIENT_OR_EVERYONE, lasting=False)

    def state_frames(self, e: ev.Progress) -> Iterator[Message]:
        """The `progress_state` part of a progress event."""
        return self._state(e.node, e.value, e.total, "running")

    def _shown(self, e: ev.NodeShown) -> Iterator[Message]:
        display, real = e.display or e.node, e.real or e.node
        if e.display or e.parent or e.real:
            self._places[e.node] = (display, e.parent, real)
        if e.output is not None:
            self.outputs[e.node] = e.output
            self.meta[e.node] = {"node_id": e.node, "display_node": display, "parent_node": e.parent, "real_node_id": real}
        output = "null" if e.output is None else dump(e.output)
        yield Message(
            f'{{"type":"executed","data":{{"node":{quote(e.node)},"display_node":{quote(display)},"output":{output},"prompt_id":{self._job}}}'
        )

    def _again(self, e: ev.NodesAgain) -> Iterator[Message]:
        """One map for all of them: they change together, so that telling it after each would say the same many times."""
        for node, shown in zip(e.nodes, e.outputs, strict=True):
            output = "null"
            if shown is not None:
                self.outputs[node] = shown
                self.meta[node] = {"node_id": node, "display_node": node, "parent_node": None, "real_node_id": node}
                output = dump(shown)
            name = quote(node)
            self._note(node, 1, 1, "finished")
            yield Message(f'{{"type":"executed","data":{{"node":{name},"display_node":{name},"output":{output},"prompt_id":{self._job}}}')
        if len(self._states) > _SMALL_GRAPH:
            self._unsent = True
        else:
            yield self._map()

    def _finished(self, e: ev.NodeFinished) -> Iterator[Message]:
        yield from self._state(e.node, 1, 1, "finished")

    def _run_started(self, e: ev.RunStarted) -> Iterator[Message]:
        yield self._said("execution_start", {"prompt_id": self.job, "timestamp": e.time})

    def _cached(self, e: ev.NodesCached) -> Iterator[Message]:
        yield self._said("execution_cached", {"nodes": list(e.nodes), "prompt_id": self.job, "timestamp": e.time})

    def _succeeded(self, e: ev.RunSucceeded) -> Iterator[Message]:
        yield from self._rest()
        yield self._said("execution_success", {"prompt_id": self.job, "timestamp": e.time})

    def _failed(self, e: ev.RunFailed) -> Iterator[Message]:
        yield from self._rest()
        text = e.message if e.message.endswith("\n") else e.message + "\n"
        yield self._said(
            "execution_error",
            {
                "prompt_id": self.job,
                "node_id": e.node,
                "node_type": e.node_type,
                "executed": list(e.executed),
                "exception_message": f"{text}{e.hint}\n" if e.hint else text,
                "exception_type": e.exception,
                "traceback": list(e.traceback),
                "current_inputs": e.inputs,
                "current_outputs": list(e.outputs),
                "timestamp": e.time,
            },
        )

    def _blocked(self, e: ev.NodeBlocked) -> Iterator[Message]:
        yield message(
            "execution_error",
            {
                "prompt_id": self.job,
                "node_id": e.node,
                "node_type": e.node_type,
                "executed": list(e.executed),
                "exception_message": e.message,
                "exception_type": "ExecutionBlocked",
                "traceback": [],
                "current_inputs": e.inputs,
                "current_outputs": list(e.outputs),
            },
        )

    def _interrupted(self, e: ev.RunInterrupted) -> Iterator[Message]:
        yield from self._rest()
        data = {"prompt_id": self.job, "node_id": e.node, "node_type": e.node_type, "executed": list(e.executed), "timestamp": e.time}
        yield self._said("execution_interrupted", data, CLIENT_OR_EVERYONE)

    def _text(self, e: ev.NodeText) -> Iterator[bytes]:
        yield text_frame(e.node, e.text)

    def _pack(self, e: ev.PackEvent) -> Iterator[Message]:
        yield message(e.type, e.data, EVERYONE if e.client is None else CLIENT_ALONE, lasting=False)

    def _said(self, type: str, data: dict[str, Any], to: str = CLIENT) -> Message:
        self.messages.append([type, data])
        return message(type, data, to)

    def _state(self, node: str, value: float, total: float, state: str) -> Iterator[Message]:
        """Note a node's state; send the map of all when that is affordable.

        The map grows with the graph, so sending it on every change would cost the square of the nodes. Small graphs get it always;
        larger ones whenever the changes and the time since the last one have earned its size.
        """
        self._note(node, value, total, state)
        if len(self._states) > _SMALL_GRAPH:
            now = self._clock()
            self._credit += _BYTES_PER_CHANGE + (now - self._last) * _BYTES_PER_SECOND
            self._last = now
            if self._credit < self._bytes:
                self._unsent = True
                return
        yield self._map()

    def _note(self, node: str, value: float, total: float, state: str) -> None:
        display, parent, real = self.place(node)
        above = "null" if parent is None else quote(parent)
        text = (
            f'{quote(node)}:{{"value":{value},"max":{total},"state":"{state}","node_id":{quote(node)},"prompt_id":{self._job},'
            f'"display_node_id":{quote(display)},"parent_node_id":{above},"real_node_id":{quote(real)}}}'
        )
        states = self._states
        self._bytes += len(text) - len(states.get(node, ""))
        states[node] = text

    def _rest(self) -> Iterator[Message]:
        if self._unsent:
            yield self._map()

    def _map(self) -> Message:
        self._credit = 0.0
        self._unsent = False
        return Message(
            f'{{"type":"progress_state","data":{{"prompt_id":{self._job},"nodes":{{{",".join(self._states.values())}}}}}',
            CLIENT_OR_EVERYONE,
            lasting=False,
        )


_HANDLERS: Mapping[type[ev.Event], Callable[[RunWire, Any], Iterator[Message | bytes]]] = {
    ev.RunStarted: RunWire._run_started,
    ev.NodesCached: RunWire._cached,
    ev.NodeStarted: RunWire._started,
    ev.Progress: RunWire._progress,
    ev.NodeShown: RunWire._shown,
    ev.NodesAgain: RunWire._again,
    ev.NodeFinished: RunWire._finished,
    ev.NodeBlocked: RunWire._blocked,
    ev.NodeText: RunWire._text,
    ev.PackEvent: RunWire._pack,
    ev.RunSucceeded: RunWire._succeeded,
    ev.RunFailed: RunWire._failed,
    ev.RunInterrupted: RunWire._interrupted,
}

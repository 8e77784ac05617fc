"""Everything that can happen during a run, as frozen values.

The worker emits them, the front stores and translates them, tests assert on them. They carry no job id: a batch of them travels
under one. On the pipe an event is a short list, `[code, field, ...]`, with trailing defaults left out (`to_json`, `from_json`). Times are
milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture of work in progress. `encode()` gives ("jpeg" | "png", bytes) and is called only if someone wants to see it."""

    encode: Callable[[], tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    code: ClassVar[str] = ""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    code: ClassVar[str] = "run"
    time: int


@dataclass(frozen=True, slots=True)
class NodesCached(Event):
    """The nodes of the prompt that already have a stored result. Sent even when there are none."""

    code: ClassVar[str] = "cached"
    nodes: tuple[str, ...]
    time: int


@dataclass(frozen=True, slots=True)
class NodeWhy(Event):
    """Why a node cannot reuse its earlier result, in words ("input `seed` changed")."""

    code: ClassVar[str] = "why"
    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class NodeStarted(Event):
    """A node begins (or begins again, after its lazy inputs or its expansion).

    For a node of an expansion, `display` is the visible node it stands for, `parent` the node that expanded, `real` the node of the prompt.
    None means the node itself (`parent`: there is none).
    """

    code: ClassVar[str] = "start"
    node: str
    display: str | None = None
    parent: str | None = None
    real: str | None = None


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Step `value` of `total` of a node. `preview` stays in the process: it does not travel in the JSON form."""

    code: ClassVar[str] = "progress"
    node: str
    value: float
    total: float
    preview: Preview | None = None


@dataclass(frozen=True, slots=True)
class NodeShown(Event):
    """What a node has to show (its UI output). `cached`: an earlier result told again; `output` is then None when there was none."""

    code: ClassVar[str] = "shown"
    node: str
    output: Mapping[str, Any] | None
    cached: bool = False
    display: str | None = None
    parent: str | None = None
    real: str | None = None


@dataclass(frozen=True, slots=True)
class NodesAgain(Event):
    """Output nodes of the prompt whose results exist already, and what each showed when it ran (None: nothing)."""

    code: ClassVar[str] = "again"
    nodes: tuple[str, ...]
    outputs: tuple[Mapping[str, Any] | None, ...]


@dataclass(frozen=True, slots=True)
class NodeFinished(Event):
    """A node has its result. `seconds`: time spent in the node's own code (0 for a cached one)."""

    code: ClassVar[str] = "finish"
    node: str
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class NodeBlocked(Event):
    """The first node that did not run because a blocker with a message reached it; the run goes on."""

    code: ClassVar[str] = "blocked"
    node: str
    node_type: str
    message: str
    executed: tuple[str, ...]
    inputs: Mapping[str, Any]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NodeText(Event):
    """A line of text to show on a node while it runs."""

    code: ClassVar[str] = "text"
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class NodeLog(Event):
    """A line a node wants in the log."""

    code: ClassVar[str] = "log"
    node: str
    text: str


@dataclass(frozen=True, slots=True)
class NodePart(Event):
    """Something that took part of a node's time, for timelines: `name` "load" | "transfer" | "save", `what` says of which file."""

    code: ClassVar[str] = "part"
    node: str
    name: str
    what: str
    time: int
    seconds: float


@dataclass(frozen=True, slots=True)
class PackEvent(Event):
    """A message of a node pack to its own code in the browser; `client` None means all."""

    code: ClassVar[str] = "pack"
    type: str
    data: Any
    client: str | None = None


@dataclass(frozen=True, slots=True)
class RunSucceeded(Event):
    code: ClassVar[str] = "success"
    time: int


@dataclass(frozen=True, slots=True)
class RunFailed(Event):
    """A node raised. `node` is a node of the prompt (not of an expansion).

    `exception` is the qualified class name, `hint` what to do next, `inputs` the node's inputs in a form fit to print, `executed` the nodes
    that have a result, `outputs` every node of the prompt.
    """

    code: ClassVar[str] = "error"
    node: str
    node_type: str
    exception: str
    message: str
    hint: str
    traceback: tuple[str, ...]
    inputs: Mapping[str, Any]
    executed: tuple[str, ...]
    outputs: tuple[str, ...]
    time: int


@dataclass(frozen=True, slots=True)
class RunInterrupted(Event):
    code: ClassVar[str] = "interrupted"
    node: str
    node_type: str
    executed: tuple[str, ...]
    time: int


Emit = Callable[[Event], None]

KINDS: Mapping[str, type[Event]] = {
    k.code: k
    for k in (
        RunStarted,
        NodesCached,
        NodeWhy,
        NodeStarted,
        Progress,
        NodeShown,
        NodesAgain,
        NodeFinished,
        NodeBlocked,
        NodeText,
        NodeLog,
        NodePart,
        PackEvent,
        RunSucceeded,
        RunFailed,
        RunInterrupted,
    )
}
_LOCAL = frozenset({"preview"})
_FIELDS: Mapping[type[Event], tuple[tuple[str, Any], ...]] = {
    kind: tuple((f.name, f.default) for f in fields(kind) if f.name not in _LOCAL) for kind in KINDS.values()
}


def to_json(event: Event) -> list[Any]:
    """The compact form for the pipe. Values inside `output` and `inputs` must already be plain data."""
    row = [event.code]
    keep = 1
    for name, default in _FIELDS[type(event)]:
        value = getattr(event, name)
        row.append(value)
        if value is not default and value != default:
            keep = len(row)
    del row[keep:]
    return row


def from_json(row: list[Any]) -> Event:
    """The event of a compact form. Raises ValueError for an unknown code or a wrong number of fields."""
    kind = KINDS.get(row[0]) if row else None
    if kind is None or len(row) - 1 > len(_FIELDS[kind]):
        raise ValueError(f"not an event: {row!r:.200}")
    values = [tuple(v) if isinstance(v, list) else v for v in row[1:]]
    try:
        return kind(*values)
    except TypeError as error:
        raise ValueError(f"not an event: {row!r:.200}") from error

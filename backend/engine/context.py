"""What a node can reach, and what it can answer with."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from backend.base.errors import Interrupted
from backend.base.events import Emit, NodeLog, NodePart, NodeText, Preview, Progress

__all__ = ["Blocker", "Context", "Expand", "Interrupted", "Preview", "Services", "Ui"]

Services = SimpleNamespace  # what the worker's composition root hands to nodes: pool, folders, settings, device, tokenizers ...


class Context:
    """The only thing a node can reach.

    `node` is the id of the running node, `display_node` the visible node it stands for, `index` the position in a mapped call (None when
    the node is called once), `prompt` the document, `extra` the EXTRA_PNGINFO values, `instance` the node object of class-form types.
    """

    __slots__ = (
        "cancelled", "display_node", "emit", "extra", "graph", "index", "instance", "job", "node", "prompt", "services", "shown", "values",
    )  # fmt: skip

    def __init__(
        self,
        job: str,
        node: str,
        *,
        emit: Emit = lambda event: None,
        cancelled: Callable[[], bool] = lambda: False,
        services: Any = None,
        display_node: str | None = None,
        prompt: Mapping[str, Any] | None = None,
        extra: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        graph: Any = None,
        instance: Any = None,
    ) -> None:
        self.job = job
        self.node = node
        self.display_node = node if display_node is None else display_node
        self.index: int | None = None
        self.services = services
        self.prompt = prompt if prompt is not None else {}
        self.extra = extra if extra is not None else {}
        self.values = values if values is not None else {}  # all of the job's extra data
        self.graph = graph
        self.instance = instance
        self.emit = emit
        self.cancelled = cancelled
        self.shown: dict[str, list[Any]] = {}

    def check(self) -> None:
        """Raises Interrupted when the run was cancelled. Cheap: call it wherever some time has passed."""
        if self.cancelled():
            raise Interrupted

    def progress(self, value: float, total: float, preview: Preview | None = None) -> None:
        """Say that step `value` of `total` is done, with a picture if there is one. Raises Interrupted when the run was cancelled."""
        if self.cancelled():
            raise Interrupted
        self.emit(Progress(self.node, value, total, preview))

    def show(self, key: str, items: Iterable[Any]) -> None:
        """Show something on the node, e.g. `ctx.show("images", [{"filename": ..., "subfolder": ..., "type": ...}])`."""
        self.shown.setdefault(key, []).extend(items)

    @contextmanager
    def part(self, name: str, what: str = "") -> Iterator[None]:
        """What happens inside is shown as a part of the node's time in timelines."""
        began, at = time.perf_counter(), time.time()
        yield
        self.emit(NodePart(self.node, name, what, int(at * 1000), time.perf_counter() - began))

    def text(self, text: str) -> None:
        """Show a line of text on the node while it runs."""
        self.emit(NodeText(self.node, text))

    def log(self, text: str) -> None:
        """Write a line to the log."""
        self.emit(NodeLog(self.node, text))


class Ui:
    """A result with something to show: `Ui({"images": [...]}, *outputs)`."""

    __slots__ = ("outputs", "shown")

    def __init__(self, shown: Mapping[str, Any], *outputs: Any) -> None:
        self.shown = shown
        self.outputs = outputs


class Expand:
    """A result that is a graph: `nodes` (an API document, new ids) runs, then `outputs` (values, or `Link`s into it) are the outputs."""

    __slots__ = ("nodes", "outputs", "shown")

    def __init__(self, nodes: Mapping[str, Any], outputs: Iterable[Any] = (), shown: Mapping[str, Any] | None = None) -> None:
        self.nodes = nodes
        self.outputs = tuple(outputs)
        self.shown = shown


class Blocker:
    """In an output: nodes that would consume it do not run. With a message, the first of them reports it; the run goes on either way."""

    __slots__ = ("message",)

    def __init__(self, message: str | None = None) -> None:
        self.message = message

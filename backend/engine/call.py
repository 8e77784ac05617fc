"""Calling one node: its inputs gathered into lists, one call per index, and what came back."""

from __future__ import annotations

import inspect
import time
from asyncio import Task
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

from backend.engine import lists
from backend.engine.cache import Result
from backend.engine.context import Blocker, Context
from backend.engine.expand import RunGraph
from backend.graph.document import Link, Node
from backend.graph.schema import NodeType

# The context of the node whose code is running; code far below a node that has no `ctx` at hand (a foreign progress bar) finds it here.
CURRENT: ContextVar[Context | None] = ContextVar("node", default=None)
_ABSENT = (None,)


def inputs(
    node: Node, t: NodeType, results: Mapping[str, Result], graph: RunGraph, values: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The inputs as lists by name, and the names of lazy ones whose value is not there yet (it is None)."""
    given: dict[str, Any] = {}
    missing: list[str] = []
    declared = t.by_name
    for name, value in node.inputs.items():
        i = declared.get(name)
        if value.__class__ is not Link:
            if i is not None or t.any_constant:
                given[name] = (value,)
        elif i is not None and i.raw_link:
            given[name] = (list(value),)
        elif i is not None or t.any_input:
            result = results.get(value.node)
            if result is None:
                missing.append(name)
                given[name] = _ABSENT
            else:
                given[name] = result.outputs[value.slot] if value.slot < len(result.outputs) else _ABSENT
    if t.passes_hidden:
        for name, word in t.hidden.items():
            given[name] = (hidden(word, node.id, graph, values),)
    return given, missing


def hidden(word: str, id: str, graph: RunGraph, values: Mapping[str, Any]) -> Any:
    """A run value by its published name. Those that are not known here come from the job's extra data."""
    if word == "UNIQUE_ID":
        return id
    if word == "PROMPT":
        return graph.document
    if word == "DYNPROMPT":
        return graph
    return values.get(word.lower())


async def _inside(ctx: Context, awaitable: Awaitable[Any]) -> Any:
    CURRENT.set(ctx)
    return await awaitable


def guarded(ctx: Context, function: Callable[..., Any], values: Mapping[str, Any]) -> Any:
    """Call node code so that `CURRENT` is its context, also while it is awaited."""
    token = CURRENT.set(ctx)
    try:
        result = function(ctx, **values)
    finally:
        CURRENT.reset(token)
    return _inside(ctx, result) if inspect.isawaitable(result) else result


class Call:
    """A started node."""

    __slots__ = ("contexts", "lists", "node", "results", "seconds", "since", "task", "type")

    def __init__(self, node: Node, type: NodeType, given: lists.Lists) -> None:
        self.node = node
        self.type = type
        self.lists = given
        self.contexts: list[Context] = []
        self.results: list[Any] = []
        self.task: Task[Any] | None = None
        self.since = time.perf_counter()
        self.seconds = 0.0

    def start(self, context: Callable[[], Context], blocked: Callable[[Blocker], Blocker]) -> bool:
        """Call the node once per index. True: among the results are awaitables."""
        t = self.type
        assert t.run is not None
        argument_sets = lists.calls(self.lists, t.input_is_list)
        many = len(argument_sets) > 1
        waiting = False
        try:
            for index, values in enumerate(argument_sets):
                ctx = context()
                if many:
                    ctx.index = index
                    ctx.check()
                self.contexts.append(ctx)
                block = lists.blocker(self.lists, index, t.input_is_list)
                result: Any = guarded(ctx, t.run, values) if block is None else blocked(block)
                waiting = waiting or inspect.isawaitable(result)
                self.results.append(result)
        except BaseException:
            for begun in self.results:
                if inspect.iscoroutine(begun):
                    begun.close()  # it will not be awaited any more
            raise
        return waiting

    def finish(self) -> tuple[list[lists.Returned], dict[str, list[Any]] | None]:
        """What each call returned, and all that is to be shown (None: nothing)."""
        self.seconds = time.perf_counter() - self.since
        parts = [lists.read(value, self.type) for value in self.results]
        showing = [s for p, c in zip(parts, self.contexts) for s in (p.shown, c.shown) if s]
        return parts, lists.join_shown(showing) if showing else None

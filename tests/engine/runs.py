"""Run documents of test nodes and look at what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from backend.base import events as ev
from backend.engine.cache import OutputCache
from backend.engine.executor import Executor, Job, Outcome
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.schema import Input, NodeType, Output
from backend.graph.validate import validate


def inputs(spec: str, **options: Any) -> tuple[Input, ...]:
    """ "a b? c~" -> required a, optional b, lazy c (all of type X)."""
    made = []
    for word in spec.split():
        name = word.rstrip("?~")
        made.append(Input(name, "X", None, "?" not in word and "~" not in word, "~" in word, wildcard=True, **options))
    return tuple(made)


def kind(id: str, run: Callable[..., Any], spec: str = "", outputs: int = 1, **more: Any) -> NodeType:
    """A node type over untyped wires. `outputs` 1 returns a value, others a tuple."""
    made = tuple(Output(f"o{i}", "X", wildcard=True) for i in range(outputs))
    rest: dict[str, Any] = {"outputs": made, "many": outputs != 1, "is_output": outputs == 0} | more
    return NodeType(id=id, title=id, category="test", description="", inputs=inputs(spec), run=run, **rest)


def node(type: str, **given: Any) -> dict[str, Any]:
    """A node of a document; "#3" and "#3:1" mean links."""

    def value(v: Any) -> Any:
        if isinstance(v, str) and v.startswith("#"):
            id, _, slot = v[1:].partition(":")
            return [id, int(slot or 0)]
        return v

    return {"class_type": type, "inputs": {k: value(v) for k, v in given.items()}}


class Bench:
    """An executor with a set of node types; `ran` lists the nodes whose code was called, in order."""

    def __init__(self, *types: NodeType, cache: OutputCache | None = None, **more: Any) -> None:
        self.events: list[ev.Event] = []
        self.ran: list[str] = []
        self.registry = Registry([*basics(self), *types])
        self.executor = Executor(self.registry, self.events.append, cache=cache, **more)

    def run(
        self,
        document: dict[str, Any],
        targets: Iterable[str] | None = None,
        extra: dict[str, Any] | None = None,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        self.events.clear()
        self.ran.clear()
        checked = validate(Prompt.parse(document), self.registry, targets)
        assert checked.error is None, (checked.error, checked.node_errors)
        return self.executor.run(Job("job", checked.prompt, checked.targets, extra or {}), cancelled)

    def of(self, kind: type[Any]) -> list[Any]:
        return [e for e in self.events if type(e) is kind]

    def shown(self) -> dict[str, Any]:
        return {e.node: e.output for e in self.of(ev.NodeShown)} | self.again()

    def again(self) -> dict[str, Any]:
        return {id: output for e in self.of(ev.NodesAgain) for id, output in zip(e.nodes, e.outputs)}

    def story(self) -> list[str]:
        """The events in short: code and node."""
        return [e.code + (":" + e.node if hasattr(e, "node") else "") for e in self.events if type(e) is not ev.NodeWhy]


def basics(bench: Bench) -> list[NodeType]:
    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(ctx: Any, **given: Any) -> Any:
            bench.ran.append(ctx.node)
            return function(ctx, **given)

        return run

    async def nap(ctx: Any, a: Any = None, seconds: float = 0.01) -> Any:
        bench.ran.append(ctx.node)
        await asyncio.sleep(seconds)
        bench.ran.append(ctx.node + "!")
        return a

    def fail(ctx: Any, a: Any = None) -> Any:
        raise ValueError("it broke")

    return [
        kind("Value", noting(lambda ctx, a=None: a), "a?"),
        kind("Add", noting(lambda ctx, a, b: a + b), "a b"),
        _list_of(noting),
        kind("Show", noting(lambda ctx, a: ctx.show("text", [str(a)])), "a", outputs=0),
        kind("Silent", noting(lambda ctx, a: None), "a", outputs=0),
        kind("Nap", nap, "a? seconds?", is_async=True),
        kind("Fail", noting(fail), "a?"),
    ]


def _list_of(noting: Any) -> NodeType:
    outputs = (Output("o", "X", True, wildcard=True),)
    return NodeType("List", "List", "test", "", inputs("a"), outputs, noting(lambda ctx, a: list(a)))

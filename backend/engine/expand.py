"""The graph of one run: the document, and the graphs that nodes turned into."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.base.errors import BadInput
from backend.engine.cache import Result
from backend.engine.context import Context, Expand
from backend.engine.lists import Returned, gather
from backend.graph.document import Link, Node, Prompt
from backend.graph.schema import NodeType


def _value(value: Any) -> Any:
    """In an expansion a two-element list of an id and an index is a link; every other value, lists too, is itself."""
    if value.__class__ is list and len(value) == 2 and value[0].__class__ is str and value[1].__class__ is int:
        return Link(value[0], value[1])
    return value


class RunGraph:
    """Nodes by id, with where each came from. Only nodes of expansions have a parent."""

    __slots__ = ("_displays", "_parents", "document", "nodes")

    def __init__(self, prompt: Prompt, document: Mapping[str, Any] | None = None) -> None:
        self.nodes: dict[str, Node] = dict(prompt.nodes)
        self.document = prompt.raw if document is None else document
        self._parents: dict[str, str] = {}
        self._displays: dict[str, str] = {}

    def parent(self, id: str) -> str | None:
        """The node that expanded into this one."""
        return self._parents.get(id)

    def display(self, id: str) -> str:
        """The visible node a node stands for."""
        seen = 0
        while id in self._parents and seen < 1000:
            id = self._displays[id]
            seen += 1
        return id

    def real(self, id: str) -> str:
        """The node of the document from which a node came."""
        while id in self._parents:
            id = self._parents[id]
        return id

    def add(self, parent: str, expansion: Expand) -> list[str]:
        """Add the nodes of an expansion. Raises BadInput when an id exists already or a node has no type."""
        added: list[str] = []
        for id, body in expansion.nodes.items():
            if id in self.nodes:
                raise BadInput(
                    f"Node {parent} expanded into a node {id!r}, which exists already.", hint="Expansions need new ids.", node=parent
                )
            type = body.get("class_type")
            if not isinstance(type, str):
                raise BadInput(f"Node {parent} expanded into a node {id!r} without class_type.", node=parent)
            inputs = {k: _value(v) for k, v in body.get("inputs", {}).items()}
            self.nodes[id] = Node(id, type, inputs, body)
            self._parents[id] = parent
            self._displays[id] = body.get("override_display_id") or parent
            added.append(id)
        return added


class Subgraph:
    """Builds an expansion: `g = Subgraph(ctx)`, `n = g.node("KSampler", model=link, seed=1)`, `return g.expand(n.out(0))`."""

    def __init__(self, ctx: Context) -> None:
        self._prefix = f"{ctx.node}.{ctx.index or 0}.0."
        self._nodes: dict[str, dict[str, Any]] = {}

    def node(self, type: str, /, *, display: str | None = None, **inputs: Any) -> Built:
        """Add a node. `display`: the visible node it stands for (default: the expanding node)."""
        id = f"{self._prefix}{len(self._nodes) + 1}"
        self._nodes[id] = {"class_type": type, "inputs": inputs}
        if display is not None:
            self._nodes[id]["override_display_id"] = display
        return Built(id)

    def expand(self, *outputs: Any, shown: Mapping[str, Iterable[Any]] | None = None) -> Expand:
        """The finished expansion; `outputs` are values or `Link`s."""
        return Expand(self._nodes, outputs, shown)


class Built:
    """A node added to a Subgraph."""

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id = id

    def out(self, slot: int) -> Link:
        """Its output, to be given to other nodes or returned."""
        return Link(self.id, slot)


class Pending:
    """A node that turned into a graph and waits for it: what each of its calls returned, and the nodes it `needs`."""

    __slots__ = ("_parts", "needs", "seconds", "shown")

    def __init__(self, parts: Sequence[Returned], shown: Mapping[str, Any] | None, seconds: float) -> None:
        self._parts = parts
        self.shown = shown
        self.seconds = seconds
        links = [_value(v) for p in parts if p.expand is not None for v in p.outputs]
        self.needs = list(dict.fromkeys(v.node for v in links if v.__class__ is Link))

    def resolve(self, t: NodeType, results: Mapping[str, Result]) -> list[list[Any]]:
        """The node's outputs as one list per slot, links replaced by the results they mean."""
        gathered = [self._slots(p, results) if p.expand is not None else gather([p.outputs], t) for p in self._parts]
        count = max((len(g) for g in gathered), default=0)
        return [[v for g in gathered for v in (g[i] if i < len(g) else [None])] for i in range(count)]

    @staticmethod
    def _slots(part: Returned, results: Mapping[str, Result]) -> list[list[Any]]:
        slots: list[list[Any]] = []
        for value in map(_value, part.outputs):
            if value.__class__ is not Link:
                slots.append([value])
                continue
            outputs = results[value.node].outputs
            slots.append(outputs[value.slot] if value.slot < len(outputs) else [None])
        return slots

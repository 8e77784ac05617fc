"""Where an input's value comes from: back through reroutes, bypassed nodes and subgraph boundaries to a node that runs, or to a constant.

Everything here walks without recursion and remembers what it found, so that long chains cost one pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from backend.base.errors import BadInput
from backend.workflow.document import BYPASSED, FROM_OUTSIDE, NOTES, PRIMITIVE, REROUTE, Graph, Node, Wire

_ANY = ("*", "", 0, None)


class Source(NamedTuple):
    """An output of a node that runs, by execution id."""

    id: str
    slot: int


class Constant(NamedTuple):
    """A value given by a primitive node, or by a subgraph instance for one of its inputs. `by` is the primitive."""

    value: Any
    by: Node | None = None


Found = Source | Constant | None


@dataclass(eq=False)
class Scope:
    """A graph where it is used: the root, or a definition inside one instance (`host`, which stands in `parent`).

    `given` holds the instance's values by boundary input, `overrides` those of inner nodes by node id and input.
    """

    graph: Graph
    prefix: str
    depth: int
    parent: Scope | None = None
    host: Node | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    children: dict[str, Scope] = field(default_factory=dict)

    def id(self, node: Node) -> str:
        """The execution id: the ids of the instances around a node and its own, joined by colons."""
        return self.prefix + node.id

    def primitive(self, node: Node) -> Found:
        """The value of a primitive node."""
        own = self.overrides.get(node.id, {})
        if "value" in own:
            return Constant(own["value"], node)
        return Constant(node.values[0], node) if isinstance(node.values, list) and node.values else None


_Key = tuple[int, int | str, str]


class _Onward(NamedTuple):
    scope: Scope
    wire: Wire


class Sources:
    """Finds sources in one document and remembers them."""

    def __init__(self) -> None:
        self._known: dict[_Key, Found] = {}

    def of(self, scope: Scope, node: Node, index: int) -> Found:
        """What feeds an input; None where nothing does. Raises BadInput for a circle without a node that computes."""
        slot = node.inputs[index]
        if slot.link is None:
            return None
        kind = str(slot.type) if slot.type not in _ANY else "*"
        trail: dict[_Key, None] = {}
        place: Scope = scope
        wire: Wire | None = scope.graph.wires.get(slot.link)
        found: Found = None
        while wire is not None:
            key = (id(place), wire.id, kind)
            if key in self._known:
                found = self._known[key]
                break
            if key in trail:
                message = f"The connections that lead to input {slot.name!r} of node {scope.id(node)!r:.80} go round in a circle."
                raise BadInput(message, hint="Remove one of the reroutes or bypassed nodes in it.", node=scope.id(node), input=slot.name)
            trail[key] = None
            step = _step(place, wire, kind)
            if not isinstance(step, _Onward):
                found = step
                break
            place, wire = step
        for key in trail:
            self._known[key] = found
        return found


def _step(scope: Scope, wire: Wire, kind: str) -> Found | _Onward:
    """One connection back: the answer, or the next connection to follow."""
    if wire.from_node == FROM_OUTSIDE:
        return _outside(scope, wire)
    node = scope.graph.by_id.get(wire.from_node)
    if node is None:
        return None
    if node.type == PRIMITIVE:
        return scope.primitive(node)
    if node.mode == BYPASSED:
        picked = passed_through(node, wire.from_slot, kind)
        return _follow(scope, node, picked)
    if node.id in scope.children:
        child = scope.children[node.id]
        inner = child.graph.into_output.get(wire.from_slot)
        return None if inner is None else _Onward(child, inner)
    if node.type == REROUTE:
        return _follow(scope, node, wire.from_slot)
    return None if node.type in NOTES else Source(scope.id(node), wire.from_slot)


def _follow(scope: Scope, node: Node, index: int | None) -> _Onward | None:
    if index is None or not 0 <= index < len(node.inputs):
        return None
    link = node.inputs[index].link
    wire = scope.graph.wires.get(link) if link is not None else None
    return None if wire is None else _Onward(scope, wire)


def _outside(scope: Scope, wire: Wire) -> Found | _Onward:
    """Through the boundary: to what feeds the instance's input of that name, else to the instance's own value for it."""
    if scope.parent is None or scope.host is None or not 0 <= wire.from_slot < len(scope.graph.inputs):
        return None
    name = scope.graph.inputs[wire.from_slot].name
    index = scope.host.input_index.get(name)
    onward = _follow(scope.parent, scope.host, index)
    if onward is not None:
        return onward
    return Constant(scope.given[name]) if name in scope.given else None


def passed_through(node: Node, slot: int, kind: str) -> int | None:
    """The input whose value a bypassed node hands on at output `slot` to an input of type `kind`; None where none fits."""
    inputs = node.inputs
    if kind in _ANY:
        return slot if slot < len(inputs) else (0 if inputs else None)
    out = node.outputs[slot].type if slot < len(node.outputs) else "*"
    if slot < len(inputs) and compatible(inputs[slot].type, out) and compatible(inputs[slot].type, kind):
        return slot
    for i, candidate in enumerate(inputs):
        if candidate.type == kind:
            return i
    for i, candidate in enumerate(inputs):
        if compatible(candidate.type, out) and compatible(candidate.type, kind):
            return i
    return None


def compatible(one: Any, other: Any) -> bool:
    """Whether two socket types may be connected in the editor: one of them is any, or their comma lists share a name, whatever its case."""
    if one in _ANY or other in _ANY or one == other:
        return True
    first = {part.strip() for part in str(one).lower().split(",")}
    return not first.isdisjoint(part.strip() for part in str(other).lower().split(","))

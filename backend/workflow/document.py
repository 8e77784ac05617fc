"""The editor's form of a workflow: versions 0.4 and 1, subgraph definitions, group nodes. What is not understood is kept as it is.

Reading is tolerant, since files come from many editors and years: a node that lacks a type or an id is an error, an odd slot is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from backend.base.errors import BadFile
from backend.base.jsonable import depth_exceeds

ALWAYS, MUTED, BYPASSED = 0, 2, 4
FROM_OUTSIDE, TO_OUTSIDE = "-10", "-20"
NOTES = frozenset({"Note", "MarkdownNote"})
REROUTE, PRIMITIVE = "Reroute", "PrimitiveNode"
VIRTUAL = NOTES | {REROUTE, PRIMITIVE}
GROUP_PREFIXES = ("workflow/", "workflow>")
MOST_DEPTH = 200

Json = dict[str, Any]


class Wire(NamedTuple):
    """A link: output `from_slot` of node `from_node` feeds input `to_slot` of `to_node`. Node ids are texts; boundaries are -10 and -20.

    The link id on the input is what counts: `to_slot` may be out of date.
    """

    id: int | str
    from_node: str
    from_slot: int
    to_node: str
    to_slot: int
    type: Any
    raw: Any


class Slot(NamedTuple):
    """An input or output socket as saved. `widget` names the value that the socket stands for."""

    name: str
    type: Any
    link: int | str | None = None
    widget: str | None = None


@dataclass(frozen=True)
class Node:
    """One node. `raw` is the node as it came, and goes out again unchanged."""

    id: str
    type: str
    mode: int
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    raw: Json = field(repr=False)

    @property
    def title(self) -> str:
        """The title a person gave it, else ""."""
        title = self.raw.get("title")
        return title if isinstance(title, str) else ""

    @property
    def properties(self) -> Mapping[str, Any]:
        """What editors and packs noted on the node."""
        found = self.raw.get("properties")
        return found if isinstance(found, dict) else {}

    @property
    def values(self) -> Any:
        """`widgets_values`: a list, an object by name, or None."""
        return self.raw.get("widgets_values")

    @property
    def named(self) -> Mapping[str, Any]:
        """The values by name that stand beside the list in newer files; empty where there are none."""
        found = self.raw.get("widgets_values_named")
        return found if isinstance(found, dict) else {}

    @cached_property
    def input_index(self) -> Mapping[str, int]:
        """Place of each input by name; of several with one name the first."""
        return {slot.name: i for i, slot in reversed(tuple(enumerate(self.inputs)))}

    @property
    def pack(self) -> str:
        """The node pack that the file names for this node, else ""."""
        for key in ("cnr_id", "aux_id"):
            if isinstance(found := self.properties.get(key), str) and found:
                return found
        return ""


@dataclass(frozen=True)
class Graph:
    """The root graph, or a subgraph definition with its boundary `inputs` and `outputs`."""

    id: str
    name: str
    nodes: tuple[Node, ...]
    wires: Mapping[int | str, Wire]
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]
    raw: Json = field(repr=False)

    @cached_property
    def by_id(self) -> Mapping[str, Node]:
        """Nodes by id; of several with one id the first."""
        return {node.id: node for node in reversed(self.nodes)}

    @cached_property
    def into_output(self) -> Mapping[int, Wire]:
        """The wire that feeds each boundary output."""
        return {wire.to_slot: wire for wire in reversed(tuple(self.wires.values())) if wire.to_node == TO_OUTSIDE}

    @cached_property
    def from_input(self) -> Mapping[int, tuple[tuple[Node, Slot], ...]]:
        """The inner inputs that each boundary input feeds, in the order of their wires' creation in the file."""
        by_wire = {slot.link: (node, slot) for node in self.nodes for slot in node.inputs if slot.link is not None}
        found: dict[int, list[tuple[Node, Slot]]] = {}
        for wire in self.wires.values():
            if wire.from_node == FROM_OUTSIDE and wire.id in by_wire:
                found.setdefault(wire.from_slot, []).append(by_wire[wire.id])
        return {slot: tuple(fed) for slot, fed in found.items()}

    def to_json(self, version: float | int | None = None) -> Json:
        """The graph as JSON, in the version given or else in its own."""
        own = self.raw.get("version")
        version = own if version is None else version
        out = {**self.raw, "nodes": [node.raw for node in self.nodes]}
        if "links" in self.raw or self.wires:
            out["links"] = [_wire_json(wire, version == 0.4) for wire in self.wires.values()]
        if version != own:
            out["version"] = version
        if version != 0.4:
            if own == 0.4:
                out["state"] = _state(out)
            out.pop("last_node_id", None)
            out.pop("last_link_id", None)
        elif own != 0.4:
            state = _get(self.raw, "state", dict)
            out |= {"last_node_id": state.get("lastNodeId", 0), "last_link_id": state.get("lastLinkId", 0)}
            out.pop("state", None)
        return out


@dataclass(frozen=True)
class Workflow:
    """A whole file: the root graph, its subgraph definitions by id, its legacy group nodes by name."""

    root: Graph
    subgraphs: Mapping[str, Graph]
    groups: Mapping[str, Json]

    @classmethod
    def parse(cls, raw: Any) -> Workflow:
        """Read the editor's JSON. Raises BadFile naming the part that makes no sense."""
        if not is_editor_form(raw):
            raise BadFile("This is not an editor workflow: it has no list of nodes.", hint="Save the workflow again in the editor.")
        if depth_exceeds(raw, MOST_DEPTH):
            raise BadFile(f"The workflow is nested deeper than {MOST_DEPTH} levels.", hint="No editor writes such a file.")
        definitions = _get(raw, "definitions", dict).get("subgraphs") or []
        if not isinstance(definitions, list) or not all(isinstance(d, dict) for d in definitions):
            raise BadFile("The subgraph definitions of the workflow are not a list of objects.", hint="Save it again in the editor.")
        subgraphs = [read_graph(d, f"subgraph {str(d.get('name', '?'))[:60]!r}") for d in definitions]
        groups = {k: v for k, v in _get(_get(raw, "extra", dict), "groupNodes", dict).items() if isinstance(v, dict)}
        return cls(read_graph(raw, "workflow"), {graph.id: graph for graph in reversed(subgraphs)}, groups)

    def to_json(self, version: float | int | None = None) -> Json:
        """The whole file as JSON; `version` (0.4 or 1) rewrites the root graph's form, subgraphs stay as they are."""
        out = self.root.to_json(version)
        definitions = out.get("definitions")
        if isinstance(definitions, dict) and self.subgraphs:
            by_id = self.subgraphs
            kept = [by_id[str(raw.get("id"))].to_json() for raw in definitions.get("subgraphs") or ()]
            out["definitions"] = {**definitions, "subgraphs": kept}
        return out

    def types(self) -> set[str]:
        """Every node type in the file that is neither virtual nor a subgraph, group members included."""
        graphs = (self.root, *self.subgraphs.values())
        found = {node.type for graph in graphs for node in graph.nodes}
        for group in self.groups.values():
            found |= {str(n["type"]) for n in group.get("nodes") or () if isinstance(n, dict) and isinstance(n.get("type"), str)}
        return {t for t in found - VIRTUAL - self.subgraphs.keys() if not t.startswith(GROUP_PREFIXES)}


def is_editor_form(raw: Any) -> bool:
    """Whether a document is the editor's form and not a prompt (in which every value has a class_type)."""
    return isinstance(raw, dict) and isinstance(raw.get("nodes"), list)


def is_prompt_form(raw: Any) -> bool:
    """Whether a document is the API form."""
    return isinstance(raw, dict) and bool(raw) and all(isinstance(v, dict) and "class_type" in v for v in raw.values())


def slots(raw: Any) -> tuple[Slot, ...]:
    """Sockets as saved; what is no object counts as a nameless one, so that places stay right."""
    if not isinstance(raw, list):
        return ()
    return tuple(_slot(item) if isinstance(item, dict) else Slot("", None) for item in raw)


def wires(raw: Iterable[Any], place: str) -> dict[int | str, Wire]:
    """Links in either form: arrays of six, or objects. Null entries, which old editors left, are passed over. Raises BadFile."""
    found: dict[int | str, Wire] = {}
    for item in raw:
        if item is None:
            continue
        if isinstance(item, dict):
            parts = [item.get(k) for k in ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")]
        elif isinstance(item, list) and len(item) >= 5:
            parts = [*item[:5], item[5] if len(item) > 5 else None]
        else:
            raise BadFile(f"A link of the {place} is {str(item)[:60]!r}, which is no link.", hint="Save the workflow again in the editor.")
        wire = _wire(parts, item)
        if wire is None:
            raise BadFile(f"The link {str(parts[:5])[:80]} of the {place} does not lead from a node to a node.", hint="Remove it.")
        found.setdefault(wire.id, wire)
    return found


def _wire(parts: list[Any], raw: Any) -> Wire | None:
    id, from_node, from_slot, to_node, to_slot, type = parts
    if not all(_is_id(part) for part in (id, from_node, to_node)):
        return None
    from_place, to_place = _place(from_slot), _place(to_slot)
    if from_place is None or to_place is None:
        return None
    return Wire(id, str(from_node), from_place, str(to_node), to_place, type, raw)


def _place(slot: Any) -> int | None:
    """A socket's place; texts of digits occur, and null where an editor forgot it (the input holding the link counts anyway)."""
    if slot is None:
        return 0
    if isinstance(slot, str) and slot.isascii() and slot.isdigit() and len(slot) < 9:
        return int(slot)
    return slot if isinstance(slot, int) and not isinstance(slot, bool) else None


def read_graph(raw: Json, place: str) -> Graph:
    """A graph of its own or a subgraph definition; `place` names it in errors. Raises BadFile."""
    listed = raw.get("nodes")
    if not isinstance(listed, list):
        raise BadFile(f"The {place} has no list of nodes.", hint="Save the workflow again in the editor.")
    nodes = tuple(_node(item, place) for item in listed)
    links = raw.get("links")
    if isinstance(links, dict):  # an object by id, as some tools write
        links = list(links.values())
    if links is not None and not isinstance(links, list):
        raise BadFile(f"The links of the {place} are not a list.", hint="Save the workflow again in the editor.")
    boundary_in, boundary_out = slots(raw.get("inputs")), slots(raw.get("outputs"))
    return Graph(str(raw.get("id", "")), str(raw.get("name", "")), nodes, wires(links or (), place), boundary_in, boundary_out, raw)


def _node(raw: Any, place: str) -> Node:
    if not isinstance(raw, dict) or not isinstance(raw.get("type"), str) or not _is_id(raw.get("id")):
        told = f"node {str(raw.get('id'))[:60]!r}" if isinstance(raw, dict) else "node"
        raise BadFile(f"A {told} of the {place} has no usable id and type.", hint="Remove it from the file, or save the workflow again.")
    mode = raw.get("mode")
    mode = mode if isinstance(mode, int) else ALWAYS
    return Node(str(raw["id"]), raw["type"], mode, slots(raw.get("inputs")), slots(raw.get("outputs")), raw)


def _slot(raw: Json) -> Slot:
    widget = raw.get("widget")
    named = widget.get("name") if isinstance(widget, dict) else None
    link = raw.get("link")
    name = raw.get("name")
    return Slot(
        name if isinstance(name, str) else "",
        raw.get("type"),
        link if _is_id(link) else None,
        named if isinstance(named, str) else None,
    )


def _is_id(value: Any) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool) and len(str(value)) <= 256


def _wire_json(wire: Wire, as_array: bool) -> Any:
    if isinstance(wire.raw, list) == as_array:
        return wire.raw
    raw = wire.raw
    if as_array:
        return [raw["id"], raw["origin_id"], raw.get("origin_slot", 0), raw["target_id"], raw.get("target_slot", 0), raw.get("type")]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    return dict(zip(keys, [*raw[:5], raw[5] if len(raw) > 5 else None], strict=True))


def _state(raw: Json) -> Json:
    groups = [g.get("id", 0) for g in raw.get("groups") or () if isinstance(g, dict)]
    reroutes = _get(_get(raw, "extra", dict), "reroutes", list)
    last = {"lastNodeId": raw.get("last_node_id", 0), "lastLinkId": raw.get("last_link_id", 0)}
    last_reroute = max((r.get("id", 0) for r in reroutes if isinstance(r, dict)), default=0)
    return {"lastGroupId": max((g for g in groups if isinstance(g, int)), default=0), **last, "lastRerouteId": last_reroute}


def _get(raw: Any, key: str, kind: type) -> Any:
    found = raw.get(key) if isinstance(raw, dict) else None
    return found if isinstance(found, kind) else kind()

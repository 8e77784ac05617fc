"""From the API form to the editor's form: every node placed in columns from left to right, values by place and by name."""

from __future__ import annotations

import math
import uuid
from collections import deque
from collections.abc import Mapping
from typing import Any

from backend.base.errors import BadInput
from backend.graph.document import BadLink, Link, Prompt
from backend.workflow.document import Json
from backend.workflow.widgets import Form, Forms, positional

MOST_NODES = 100_000
_INERT = frozenset({"upload", "choose file to upload", "video-preview"})  # buttons of old editors
WIDTH, GAP_X, GAP_Y, ROW = 320, 80, 60, 24
_NAMESPACE = uuid.UUID("6a1f6f0e-6d0f-5d3a-9a53-0c1d9e9d7f11")


def from_prompt(prompt: Prompt, definitions: Mapping[str, Any]) -> Json:
    """An editor workflow (version 0.4) that converts back to this prompt.

    Nodes of types that `definitions` lacks keep their values by name. Raises BadInput for more than 100,000 nodes.
    """
    if len(prompt.nodes) > MOST_NODES:
        raise BadInput(f"The prompt has more than {MOST_NODES:,} nodes.", hint="Make it smaller.")
    forms = Forms(definitions)
    built = {id: _Built(prompt, id, order, forms) for order, id in enumerate(prompt.nodes)}
    links: list[list[Any]] = []
    for made in built.values():
        for place, (_, link) in enumerate(made.linked):
            origin = built.get(link.node)
            if origin is None or link.slot < 0 or link.slot > 1000:
                continue  # the editor cannot draw a link from nowhere; validation names it when the prompt itself is sent
            links.append([len(links) + 1, origin.raw["id"], link.slot, made.raw["id"], place, origin.output(link.slot)])
            made.raw["inputs"][place]["link"] = len(links)
            origin.raw["outputs"][link.slot]["links"].append(len(links))
    _place(built, _columns(prompt))
    numbers = [made.raw["id"] for made in built.values() if isinstance(made.raw["id"], int)]
    return {
        "id": str(uuid.uuid5(_NAMESPACE, repr(sorted(prompt.nodes)))),
        "revision": 0,
        "last_node_id": max(numbers, default=0),
        "last_link_id": len(links),
        "nodes": [made.raw for made in built.values()],
        "links": links,
        "groups": [],
        "config": {},
        "extra": {},
        "version": 0.4,
    }


class _Built:
    """The editor's node for one node of a prompt; `linked` are its connected inputs in the order of their sockets."""

    def __init__(self, prompt: Prompt, id: str, order: int, forms: Forms) -> None:
        node = prompt.nodes[id]
        form = forms.get(node.type)
        values = {name: value for name, value in node.inputs.items() if not isinstance(value, (Link, BadLink)) and name not in _INERT}
        links = {name: value for name, value in node.inputs.items() if isinstance(value, Link)}
        sockets = _sockets(form, links, values)
        self.linked = [(name, links[name]) for name, _ in sockets if name in links]
        inputs = [socket for name, socket in sockets if name in links] + [socket for name, socket in sockets if name not in links]
        outputs = form.outputs if form is not None else ()
        self.raw: Json = {
            "id": int(id) if id.isascii() and id.isdigit() and str(int(id)) == id and len(id) < 16 else id,
            "type": node.type,
            "pos": [0, 0],
            "size": [WIDTH, _height(form, inputs, values)],
            "flags": {},
            "order": order,
            "mode": 0,
            "inputs": inputs,
            "outputs": [{"name": name, "type": kind, "links": [], "slot_index": i} for i, (name, kind) in enumerate(outputs)],
            "properties": {"Node name for S&R": node.type},
            "widgets_values": positional(form, values) if form is not None else list(values.values()),
            "widgets_values_named": values,
        }
        if node.title != (form.title if form is not None else node.type) and node.title != node.type:
            self.raw["title"] = node.title

    def output(self, slot: int) -> str:
        """The type of an output; sockets of unknown types are added as they are needed."""
        outputs = self.raw["outputs"]
        while len(outputs) <= slot:
            outputs.append({"name": "*", "type": "*", "links": [], "slot_index": len(outputs)})
        return str(outputs[slot]["type"])


def _sockets(form: Form | None, links: Mapping[str, Link], values: Mapping[str, Any]) -> list[tuple[str, Json]]:
    """Sockets in the editor's order: first inputs without a value, then linked values; last what the type does not declare."""
    plain: list[tuple[str, Json]] = []
    shown: list[tuple[str, Json]] = []
    for field in form.fields.values() if form is not None else ():
        if not field.is_widget or field.forced:
            plain.append((field.name, {"name": field.name, "type": field.kind, "link": None}))
        elif field.name in links:
            shown.append((field.name, {"name": field.name, "type": field.kind, "widget": {"name": field.name}, "link": None}))
    undeclared = [name for name in links if form is None or name not in form.fields]
    rest: list[tuple[str, Json]] = [(name, {"name": name, "type": "*", "link": None}) for name in undeclared]
    unnamed = [name for name in values if form is None or name not in form.fields]
    rest += [(name, {"name": name, "type": "*", "widget": {"name": name}, "link": None}) for name in unnamed]
    return [*plain, *shown, *rest]


def _height(form: Form | None, inputs: list[Json], values: Mapping[str, Any]) -> int:
    rows = max(len(inputs), len(form.outputs) if form is not None else 1) + (len(form.widgets()) if form is not None else len(values))
    texts = sum(1 for value in values.values() if isinstance(value, str) and len(value) > 60)
    return 30 + ROW * rows + 120 * texts


def _columns(prompt: Prompt) -> dict[str, int]:
    """How many nodes at most stand between a node and the start of the graph; nodes in a circle stand where they were reached."""
    waits = dict.fromkeys(prompt.nodes, 0)
    feeds: dict[str, list[str]] = {}
    for id, node in prompt.nodes.items():
        needs = {link.node for link in node.links().values()} & prompt.nodes.keys()
        waits[id] = len(needs)
        for need in needs:
            feeds.setdefault(need, []).append(id)
    column = dict.fromkeys(prompt.nodes, 0)
    ready = deque(id for id, count in waits.items() if count == 0)
    while ready:
        id = ready.popleft()
        for other in feeds.get(id, ()):
            column[other] = max(column[other], column[id] + 1)
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
    return column


def _place(built: Mapping[str, _Built], columns: Mapping[str, int]) -> None:
    """Positions: a column per distance from the start, wrapped when one would be taller than the graph is wide."""
    tallest = max(2400.0, math.sqrt(sum(made.raw["size"][1] + GAP_Y for made in built.values()) * (WIDTH + GAP_X)))
    by_column: dict[int, list[_Built]] = {}
    for id, made in built.items():
        by_column.setdefault(columns[id], []).append(made)
    x = 0
    for column in sorted(by_column):
        y = 0
        for made in by_column[column]:
            if y > tallest:
                x, y = x + WIDTH + GAP_X, 0
            made.raw["pos"] = [x, y]
            y += made.raw["size"][1] + GAP_Y
        x += WIDTH + GAP_X

"""What old files say differently: renamed node types, old spellings of values, and group nodes, the forerunners of subgraphs.

A group node is an instance of `extra.groupNodes[name]`: members by index, links between them, and every free socket and value shown on the
instance. Here it becomes a subgraph whose inner ids are the indexes, so that its members run as `instance:index`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from backend.base.errors import BadFile
from backend.workflow.document import GROUP_PREFIXES, PRIMITIVE, Graph, Json, Node, Workflow, read_graph, slots
from backend.workflow.widgets import Forms, is_control

_RENAMED = {
    "T2IAdapterLoader": "ControlNetLoader",
    "ConditioningAverage ": "ConditioningAverage",
    "SDV_img2vid_Conditioning": "SVD_img2vid_Conditioning",
}
_GROUP_ID = "group:"


def current_type(type: str) -> str:
    """The present name of a node type."""
    return _RENAMED.get(type, type)


def current_value(name: str, value: Any) -> Any:
    """The present spelling of a value."""
    if name == "sampler_name" and isinstance(value, str):
        return value.removeprefix("sample_")
    return value


def group_of(node: Node, workflow: Workflow) -> str | None:
    """The name of the group definition that a node is an instance of, None when it is none."""
    for prefix in GROUP_PREFIXES:
        if node.type.startswith(prefix) and node.type[len(prefix) :] in workflow.groups:
            return node.type[len(prefix) :]
    return None


def without_groups(workflow: Workflow, forms: Forms) -> Workflow:
    """The same workflow with each group node as an instance of a subgraph. Raises BadFile for a definition that makes no sense."""
    used = {name for node in workflow.root.nodes if (name := group_of(node, workflow)) is not None}
    if not used:
        return workflow
    shown: dict[str, list[list[str] | None]] = {}
    subgraphs = dict(workflow.subgraphs)
    for name in sorted(used):
        group = _Group(name, workflow.groups[name], forms)
        subgraphs[_GROUP_ID + name] = group.graph()
        shown[name] = group.shown
    nodes = [
        node if (name := group_of(node, workflow)) is None else _instance(node, _GROUP_ID + name, shown[name])
        for node in workflow.root.nodes
    ]
    return Workflow(replace(workflow.root, nodes=tuple(nodes)), subgraphs, workflow.groups)


def _instance(node: Node, type: str, shown: list[list[str] | None]) -> Node:
    """The group node as a subgraph instance: its values go to the members by name."""
    pairs, values = [], []
    saved = iter(node.values if isinstance(node.values, list) else ())
    pending: list[Any] = []
    for place in shown:
        value = pending.pop() if pending else next(saved, StopIteration)
        if value is StopIteration:
            break
        if place is None:
            if not is_control(value):
                pending.append(value)  # a file from before this entry existed
        else:
            pairs.append(place)
            values.append(value)
    raw = {**node.raw, "type": type, "properties": {**node.properties, "proxyWidgets": pairs}, "widgets_values": values}
    raw.pop("widgets_values_named", None)
    return replace(node, type=type, raw=raw)


class _Group:
    """Reads one definition. `shown` tells, after `graph`, which member and input each value of an instance belongs to."""

    def __init__(self, name: str, raw: Mapping[str, Any], forms: Forms) -> None:
        self._place = f"group node {name[:60]!r}"
        self._raw = raw
        self._forms = forms
        self._seen: dict[str, int] = {}
        self.shown: list[list[str] | None] = []
        members = raw.get("nodes")
        if not isinstance(members, list) or not all(isinstance(m, dict) and isinstance(m.get("type"), str) for m in members):
            raise BadFile(f"The definition of the {self._place} has no usable list of nodes.", hint="Save the workflow again.")
        self._members: list[Json] = [{**m, "id": i, "inputs": _sockets(m, forms)} for i, m in enumerate(members)]

    def graph(self) -> Graph:
        """The definition as a subgraph."""
        wires, fed, leaving = self._inner()
        inputs: list[Json] = []
        outputs: list[Json] = []
        for member in self._members:
            for slot, name in self._free(member, fed):
                wires.append([len(wires) + 1, -10, len(inputs), member["id"], slot, None])
                member["inputs"][slot]["link"] = len(wires)
                inputs.append({"name": name, "type": member["inputs"][slot].get("type")})
            for slot in self._visible(member, leaving):
                wires.append([len(wires) + 1, member["id"], slot, -20, len(outputs), None])
                outputs.append({"name": str(slot), "type": None})
        raw = {"id": _GROUP_ID, "version": 0.4, "nodes": self._members, "links": wires, "inputs": inputs, "outputs": outputs}
        return read_graph(raw, self._place)

    def _inner(self) -> tuple[list[list[Any]], set[tuple[int, int]], set[tuple[int, int]]]:
        """The links between members; the sockets that they feed, and those that they leave from and that are not shown besides."""
        wires: list[list[Any]] = []
        fed, leaving = set(), set()
        links, external = self._raw.get("links"), self._raw.get("external")
        for link in links if isinstance(links, list) else ():
            if not isinstance(link, list) or len(link) < 4 or not all(isinstance(part, int) for part in link[:4]):
                continue  # a link whose end is gone has null there
            start, start_slot, end, end_slot = link[:4]
            if not (0 <= start < len(self._members) and 0 <= end < len(self._members)):
                continue
            if not 0 <= end_slot < len(self._members[end]["inputs"]):
                continue
            wires.append([len(wires) + 1, start, start_slot, end, end_slot, None])
            self._members[end]["inputs"][end_slot]["link"] = len(wires)
            fed.add((end, end_slot))
            leaving.add((start, start_slot))
        for out in external if isinstance(external, list) else ():
            if isinstance(out, list) and len(out) >= 2 and all(isinstance(part, int) for part in out[:2]):
                leaving.discard((out[0], out[1]))
        return wires, fed, leaving

    def _free(self, member: Json, fed: set[tuple[int, int]]) -> Iterator[tuple[int, str]]:
        """The sockets of a member that the instance shows, with the names it shows them by. Notes the values on the way."""
        self._note_values(member)
        for i, socket in enumerate(member["inputs"]):
            if (member["id"], i) in fed:
                continue
            name = self._shown_name(member, str(socket.get("name", "")))
            if self._config(member, "input", str(socket.get("name", ""))).get("visible") is not False:
                yield i, name

    def _note_values(self, member: Json) -> None:
        form = self._forms.get(current_type(member["type"]))
        saved = member.get("widgets_values")
        if member["type"] == PRIMITIVE:
            self._shown_name(member, "value")
            self.shown += [[str(member["id"]), "value"], *([None] * (len(saved) - 1 if isinstance(saved, list) else 0))]
        elif form is not None:
            sockets = {slot.widget for slot in slots(member["inputs"])}
            for field in form.widgets():
                if field.name not in sockets:
                    self._shown_name(member, field.name)
                    self.shown += [[str(member["id"]), field.name], *([None] * field.controls)]
            self.shown += [None] * form.upload

    def _shown_name(self, member: Json, name: str) -> str:
        """Names are unique on the instance: a second `text` is called by its member's title as well, a third is counted."""
        config = self._config(member, "input", name)
        shown = key = str(config.get("name") or name)
        title = member.get("title")
        if (member["type"] == PRIMITIVE and title) or shown in self._seen:
            prefix = f"{title or member['type']} "
            shown = key = f"{prefix}{name}"
            if shown in self._seen:
                shown = f"{prefix}{self._seen[shown]} {name}"
        self._seen[key] = self._seen.get(key, 1) + 1
        return shown

    def _visible(self, member: Json, leaving: set[tuple[int, int]]) -> list[int]:
        form = self._forms.get(current_type(member["type"]))
        count = len(form.outputs) if form is not None else len(slots(member.get("outputs")))
        config = [self._config(member, "output", str(i)).get("visible") for i in range(count)]
        return [i for i in range(count) if (config[i] if isinstance(config[i], bool) else (member["id"], i) not in leaving)]

    def _config(self, member: Json, side: str, name: str) -> Mapping[str, Any]:
        found: Any = self._raw.get("config")
        for key in (str(member["id"]), side, name):
            found = found.get(key) if isinstance(found, dict) else None
        return found if isinstance(found, dict) else {}


def _sockets(member: Json, forms: Forms) -> list[Json]:
    """The sockets of a member: as saved, else as its type declares them."""
    saved = member.get("inputs")
    if isinstance(saved, list) and saved:
        return [{**s, "link": None} if isinstance(s, dict) else {"name": "", "type": None, "link": None} for s in saved]
    form = forms.get(current_type(member["type"]))
    fields = form.fields.values() if form is not None else ()
    return [{"name": f.name, "type": f.kind, "link": None} for f in fields if not f.is_widget or f.forced]

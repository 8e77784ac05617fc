"""From the editor's form to the API form: subgraphs unfolded, virtual nodes resolved, values by name."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from backend.base.errors import BadInput
from backend.workflow.document import BYPASSED, MUTED, VIRTUAL, Graph, Json, Node, Workflow
from backend.workflow.legacy import current_type, current_value, without_groups
from backend.workflow.sources import Constant, Scope, Source, Sources
from backend.workflow.text import PREFIX_NODES, Choices, dynamic, replaced
from backend.workflow.widgets import Form, Forms, overruled, values_of

MOST_NODES = 100_000
MOST_SUBGRAPHS = 50  # levels
_REPLACE = "Run widget replace on values"


@dataclass(frozen=True)
class Converted:
    """A prompt; `missing` names the node types that are not known here, by type: the pack the file names ("" if none) and the ids;
    `notes` are sentences about what had to be guessed."""

    prompt: Json
    missing: Mapping[str, tuple[str, tuple[str, ...]]]
    notes: tuple[str, ...]


def to_prompt(workflow: Workflow, definitions: Mapping[str, Any], *, seed: int | None = None, now: datetime | None = None) -> Converted:
    """The prompt that the editor would send for a workflow.

    `definitions` are node types as /object_info describes them; nodes of other types are converted by the names the file holds. Texts with
    `{a|b}` get their first choice, or one picked from `seed`; `%date%` in file names means `now`.
    Raises BadInput for what has no meaning (two nodes with one id, subgraphs inside themselves, circles of reroutes, too many nodes),
    BadFile for damaged definitions.
    """
    return _Conversion(workflow, Forms(definitions), Choices(seed), now or datetime.now()).run()


class _Conversion:
    def __init__(self, workflow: Workflow, forms: Forms, choices: Choices, now: datetime) -> None:
        self._workflow = without_groups(workflow, forms)
        self._forms = forms
        self._choices = choices
        self._now = now
        self._sources = Sources()
        self._missing: dict[str, tuple[str, list[str]]] = {}
        self._notes: list[str] = []
        self._count = 0

    def run(self) -> Converted:
        scopes = self._unfold()
        emitted: dict[str, Json] = {}
        for scope in scopes:
            for node in scope.graph.nodes:
                if node.type in VIRTUAL or node.id in scope.children or node.mode in (MUTED, BYPASSED):
                    continue
                id = scope.id(node)
                if id in emitted:
                    raise BadInput(f"Two nodes have the id {id!r:.80}.", hint="Open the workflow in the editor and save it again.", node=id)
                emitted[id] = self._emit(scope, node, id)
        for body in emitted.values():
            gone = [name for name, value in body["inputs"].items() if value.__class__ is Source and value.id not in emitted]
            for name in gone:
                del body["inputs"][name]
        missing = {type: (pack, tuple(ids)) for type, (pack, ids) in self._missing.items()}
        return Converted(ordered(emitted), missing, tuple(self._notes))

    def _unfold(self) -> list[Scope]:
        """Every place where a graph is used, outside in."""
        root = Scope(self._workflow.root, "", 0)
        scopes, waiting = [], deque([root])
        while waiting:
            scope = waiting.popleft()
            scopes.append(scope)
            self._count += len(scope.graph.nodes)
            if self._count > MOST_NODES:
                raise BadInput(f"The workflow has more than {MOST_NODES:,} nodes when its subgraphs are unfolded.", hint="Make it smaller.")
            for node in scope.graph.nodes:
                definition = self._workflow.subgraphs.get(node.type)
                if definition is None or node.id in scope.children:
                    continue
                if scope.depth >= MOST_SUBGRAPHS:
                    told = f"The subgraph {definition.name[:60]!r} is nested deeper than {MOST_SUBGRAPHS} levels, or contains itself."
                    raise BadInput(told, hint="Take it out of itself.", node=scope.id(node))
                given, overrides = _instance_values(node, definition, scope.overrides.get(node.id, {}))
                self._share(definition, given, overrides)
                child = Scope(definition, f"{scope.prefix}{node.id}:", scope.depth + 1, scope, node, given, overrides)
                scope.children[node.id] = child
                waiting.append(child)
        return scopes

    def _share(self, definition: Graph, given: dict[str, Any], overrides: Mapping[str, Mapping[str, Any]]) -> None:
        """Where one boundary input shows several inner values and the instance holds none: the first stands for all."""
        for i, fed in definition.from_input.items():
            shown = [(inner, slot.widget) for inner, slot in fed if slot.widget and inner.type not in self._workflow.subgraphs]
            if len(shown) < 2 or not 0 <= i < len(definition.inputs) or definition.inputs[i].name in given:
                continue
            inner, name = shown[0]
            values, _ = values_of(inner, self._forms.get(current_type(inner.type)))
            values |= overrides.get(inner.id, {})
            if name in values:
                given[definition.inputs[i].name] = values[name]

    def _emit(self, scope: Scope, node: Node, id: str) -> Json:
        type = current_type(node.type)
        form = self._forms.get(type)
        values, complete = values_of(node, form)
        if form is None:
            self._missing.setdefault(type, (node.pack, []))[1].append(id)
            if not complete:
                self._notes.append(f"The values of node {id} ({type[:80]}) could not be named, since its type is not known here.")
        if names := overruled(node, form):
            said = f"Node {id} ({type[:80]}) holds other values in widgets_values than by name, which count: {', '.join(names)[:200]}."
            self._notes.append(f"{said} Change widgets_values_named too, or remove it.")
        values |= scope.overrides.get(node.id, {})
        inputs = {name: self._value(scope, node, form, name, current_value(name, value)) for name, value in values.items()}
        for i, slot in enumerate(node.inputs):
            if slot.link is None or not slot.name:
                continue
            found = self._sources.of(scope, node, i)
            if isinstance(found, Source):
                inputs[slot.name] = found
            elif isinstance(found, Constant):
                value = found.value
                if found.by is not None and found.by.properties.get(_REPLACE) is True and isinstance(value, str):
                    value = self._replaced(scope, value)
                inputs[slot.name] = self._value(scope, node, form, slot.name, value)
        title = node.title or (form.title if form is not None else type)
        return {"inputs": inputs, "class_type": type, "_meta": {"title": title}}

    def _value(self, scope: Scope, node: Node, form: Form | None, name: str, value: Any) -> Any:
        """A value as it goes into a prompt."""
        if isinstance(value, list):
            return {"__value__": value}
        if not isinstance(value, str):
            return value
        field = form.fields.get(name) if form is not None else None
        if field is not None and field.options.get("dynamicPrompts") is True:
            value = dynamic(value, self._choices)
        if name == "filename_prefix" and "%" in value and current_type(node.type) in PREFIX_NODES:
            value = self._replaced(scope, value)
        return value

    def _replaced(self, scope: Scope, text: str) -> str:
        return replaced(text, lambda node, widget: self._lookup(scope, node, widget), self._now)

    def _lookup(self, scope: Scope, name: str, widget: str) -> Any:
        """The value that `%name.widget%` means: the name a node has for search and replace comes first, then its title."""
        nodes = scope.graph.nodes
        called = [n for n in nodes if n.properties.get("Node name for S&R") == name] or [n for n in nodes if n.title == name]
        for node in called[:1]:
            if node.type in VIRTUAL:
                found = scope.primitive(node)
                return found.value if isinstance(found, Constant) and widget in ("value", "") else None
            values, _ = values_of(node, self._forms.get(current_type(node.type)))
            return {**values, **scope.overrides.get(node.id, {})}.get(widget)
        return None


def _instance_values(node: Node, definition: Graph, own: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """What an instance gives: values by boundary input, and values of inner nodes by node id and input name.

    A boundary input that feeds an inner value shows that value on the instance, in the order of the inputs. Newer files list what is shown
    in `proxyWidgets` as [inner node, input], where node -1 is the instance itself. Without a value the first inner one stands for all.
    """
    shown = {definition.inputs[i].name: fed for i, fed in sorted(definition.from_input.items()) if 0 <= i < len(definition.inputs)}
    promoted = [name for name, fed in shown.items() if any(slot.widget for _, slot in fed)]
    given: dict[str, Any] = {}
    overrides: dict[str, dict[str, Any]] = {}
    values = node.values if isinstance(node.values, list) else []
    proxies = list(_pairs(node.properties.get("proxyWidgets")))
    if isinstance(node.values, dict) or node.named:
        named = {**node.values, **node.named} if isinstance(node.values, dict) else node.named
        given = {name: named[name] for name in promoted if name in named}
    elif values and proxies and (len(values) == len(proxies) or len(values) != len(promoted)):
        for (inner, name), value in zip(proxies, values, strict=False):
            if inner == "-1":
                given[name] = value
            else:
                overrides.setdefault(inner, {})[name] = value
    else:
        given = dict(zip(promoted, values, strict=False))
    given |= {name: value for name, value in own.items() if name in promoted}
    return given, overrides


def _pairs(raw: Any) -> Iterator[tuple[str, str]]:
    for item in raw if isinstance(raw, list) else ():
        if isinstance(item, list) and len(item) >= 2:
            yield str(item[0]), str(item[1])


def ordered(emitted: Mapping[str, Json]) -> Json:
    """Nodes after those that they need, otherwise in the order of the file; links as the two-element lists of the format.

    Nodes in a circle come last: what to say about them is for validation.
    """
    waits: dict[str, int] = {}
    needed_by: dict[str, list[str]] = {}
    for id, body in emitted.items():
        needs = {value.id for value in body["inputs"].values() if value.__class__ is Source}
        waits[id] = len(needs)
        for need in needs:
            needed_by.setdefault(need, []).append(id)
    ready = deque(id for id, count in waits.items() if count == 0)
    order: dict[str, None] = {}
    while ready:
        id = ready.popleft()
        order[id] = None
        for other in needed_by.get(id, ()):
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
    done: Json = {}
    for id in [*order, *(id for id in emitted if id not in order)]:
        body = emitted[id]
        inputs = {name: [value.id, value.slot] if value.__class__ is Source else value for name, value in body["inputs"].items()}
        done[id] = {**body, "inputs": inputs}
    return done

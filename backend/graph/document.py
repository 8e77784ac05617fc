"""The API form of a workflow: nodes by id, with values and links."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any, NamedTuple

from backend.base.errors import BadInput

MAX_ID = 256


class Link(NamedTuple):
    """The `slot`-th output of node `node`. As JSON it is the two-element list that the document uses."""

    node: str
    slot: int


class BadLink(NamedTuple):
    """A list where a link belongs, that is none; validation says so."""

    raw: list[Any]


class Node:
    """One node of a prompt. `inputs` holds constants, `Link`s and (before validation) `BadLink`s; treat it as frozen."""

    __slots__ = ("id", "inputs", "raw", "sources", "type")

    def __init__(self, id: str, type: str, inputs: dict[str, Any], raw: Mapping[str, Any]) -> None:
        self.id = id
        self.type = type
        self.inputs = inputs
        self.raw = raw
        self.sources = tuple([v.node for v in inputs.values() if v.__class__ is Link])
        """The nodes its links come from, one for each link."""

    @property
    def title(self) -> str:
        """The title given by the editor, else the type."""
        meta = self.raw.get("_meta")
        title = meta.get("title") if isinstance(meta, Mapping) else None
        return title if isinstance(title, str) and title else self.type

    @property
    def meta(self) -> Mapping[str, Any]:
        """The editor's notes on the node."""
        meta = self.raw.get("_meta")
        return meta if isinstance(meta, Mapping) else {}

    @property
    def is_changed(self) -> Any:
        """A fingerprint that came with the document and is trusted in place of the node's own, or None."""
        return self.raw.get("is_changed")

    def links(self) -> dict[str, Link]:
        """The linked inputs."""
        return {k: v for k, v in self.inputs.items() if v.__class__ is Link}

    def __repr__(self) -> str:
        return f"Node({self.id!r}, {self.type!r}, {self.inputs!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and (self.id, self.type, self.inputs) == (other.id, other.type, other.inputs)

    __hash__ = None  # type: ignore[assignment]


class InvalidPrompt(BadInput):
    """The document as a whole is unusable. `type` is the protocol's error type, `details` names the node ("Node ID '#7'")."""

    def __init__(self, message: str, *, type: str = "invalid_prompt", details: str = "", hint: str = "", node: str | None = None) -> None:
        super().__init__(message, hint=hint, node=node)
        self.type = type
        self.details = details


def read_value(value: Any) -> Any:
    """An input as the document writes it: a list is a link, `{"__value__": x}` is the literal x, all else is itself."""
    kind = value.__class__
    if kind is list:
        if len(value) == 2 and value[0].__class__ is str and value[1].__class__ is int:
            return Link(value[0], value[1])
        return BadLink(value)
    if kind is dict and "__value__" in value:
        return value["__value__"]
    return value


def read_inputs(raw: Mapping[str, Any]) -> dict[str, Any]:
    """All inputs of a node, with the common constants passed over quickly."""
    inputs: dict[str, Any] = {}
    for name, value in raw.items():
        kind = value.__class__
        inputs[name] = read_value(value) if kind is list or kind is dict else value
    return inputs


class Prompt:
    """A parsed API document. `nodes` keeps the order of the document; `raw` is the document itself (never written to)."""

    __slots__ = ("_forms", "nodes", "raw")

    def __init__(self, nodes: dict[str, Node], raw: Mapping[str, Any], forms: Mapping[str, bytes | None] | None = None) -> None:
        self.nodes = nodes
        self.raw = raw
        self._forms = forms if forms is not None else {}

    @classmethod
    def parse(cls, raw: Any, before: Prompt | None = None) -> Prompt:
        """Read a document that came from JSON. Raises InvalidPrompt naming the first node whose form is wrong.

        `before`: an earlier document. Nodes that are written alike in both become the same `Node` object, so that whoever looks at
        both can tell at once what differs (`difference`).
        """
        if not isinstance(raw, Mapping):
            hint = "Send the API form of the workflow."
            raise InvalidPrompt(f"The prompt must be an object of nodes by id, not {_word(raw)}.", hint=hint)
        nodes: dict[str, Node] = {}
        forms: dict[str, bytes | None] = {}
        old_forms: Mapping[str, bytes | None] = before._forms if before is not None else {}
        old_nodes: Mapping[str, Node] = before.nodes if before is not None else {}
        for id, body in raw.items():
            form = forms[id] = _form(body)
            if form is not None and form == old_forms.get(id):
                nodes[id] = old_nodes[id]
                continue
            if body.__class__ is not dict and not isinstance(body, Mapping):
                raise _invalid(id, f"Cannot execute because node {_short(id)} is {_word(body)}, not an object.")
            type = body.get("class_type")
            if type.__class__ is not str and not isinstance(type, str):
                raise _invalid(id, "Cannot execute because a node is missing the class_type property.")
            if id.__class__ is not str or not 0 < len(id) <= MAX_ID or "\0" in id:
                raise _invalid(id, f"The node id {_short(id)} must be a text of 1 to {MAX_ID} characters without NUL.")
            inputs = body.get("inputs")
            if inputs is None:
                inputs = {}
            elif inputs.__class__ is not dict and not isinstance(inputs, Mapping):
                raise _invalid(id, f"The inputs of node {_short(id)} are {_word(inputs)}, not an object.")
            nodes[id] = Node(id, type, read_inputs(inputs), body)
        return cls(nodes, raw, forms)

    def with_inputs(self, changed: Mapping[str, Mapping[str, Any]]) -> Prompt:
        """A prompt in which the constants in `changed` (node id -> input -> value) replace those of the document."""
        if not changed:
            return self
        nodes, raw = dict(self.nodes), dict(self.raw)
        for id, values in changed.items():
            old = nodes[id]
            written = {**old.raw.get("inputs", {}), **{k: _written(v) for k, v in values.items()}}
            raw[id] = {**old.raw, "inputs": written}
            nodes[id] = Node(id, old.type, {**old.inputs, **values}, raw[id])
        return Prompt(nodes, raw)

    def to_json(self) -> Mapping[str, Any]:
        """The document."""
        return self.raw


def _form(body: Any) -> bytes | None:
    """Bytes that are equal only for nodes written alike: 1, 1.0 and true differ. None for what is not plain JSON."""
    try:
        return marshal.dumps(body, 2)
    except ValueError:
        return None


def difference(old: Mapping[str, Node], new: Mapping[str, Node]) -> list[str] | None:
    """The ids of nodes whose constants differ, where everything else is equal: ids, their order, types and links. None where more differs.

    Looks at identity, so documents must have been read with `Prompt.parse(raw, before)`; others just differ everywhere.
    """
    if old is new:
        return []
    if len(old) != len(new) or list(old) != list(new):
        return None
    get = old.get
    changed = [id for id, node in new.items() if get(id) is not node]
    for id in changed:
        before, now = get(id), new[id]
        if before is None or before.type != now.type or before.links() != now.links():
            return None
    return changed


def _written(value: Any) -> Any:
    """The way a constant is written into a document: lists must not look like links."""
    return {"__value__": value} if isinstance(value, list) else value


def _invalid(id: Any, message: str) -> InvalidPrompt:
    details = f"Node ID '#{_short(id, quote=False)}'"
    return InvalidPrompt(message, details=details, hint="Correct the node or remove it.", node=str(id)[:MAX_ID])


def _short(id: Any, quote: bool = True) -> str:
    text = str(id)
    if len(text) > 60:
        text = text[:57] + "..."
    text = text.replace("\0", "\\0")
    return repr(text) if quote else text


_WORDS = {"NoneType": "null", "list": "an array", "str": "a text", "int": "a number", "float": "a number", "bool": "true or false"}


def _word(value: Any) -> str:
    return _WORDS.get(type(value).__name__, type(value).__name__)

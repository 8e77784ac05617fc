"""Which saved value belongs to which input: the positional `widgets_values` of files, and values by name.

Positions follow the declaration of a node type, with entries of the editor's own between them (what happens to a seed after a run, a filter
text, an upload button). Where a file holds values by name, those count, so that a type that gained an input does not shift old files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backend.workflow.document import Node

CONTROL_WORDS = frozenset({"fixed", "increment", "decrement", "randomize", "increment-wrap"})
CONTROL = "control_after_generate"
_SEEDS = frozenset({"seed", "noise_seed"})
_UPLOADS = ("image_upload", "video_upload", "animated_image_upload")
_BLANK: Mapping[str, Any] = {"INT": 0, "FLOAT": 0.0, "STRING": "", "BOOLEAN": False}
_BUTTONS = frozenset({"IMAGEUPLOAD", "AUDIOUPLOAD", "AUDIO_UI", "FILEUPLOAD"})
_SPECIAL = frozenset({"COLOR", "MARKDOWN", "TEXTAREA", "WEBCAM", "AUDIO_RECORD", "LOAD_3D", "LOAD_3D_ANIMATION"})
BRANCHES = "COMFY_DYNAMICCOMBO_V3"
"""A choice each of whose values brings inputs of its own, called `<choice>.<name>`; they follow it in their places."""
WIDGET_KINDS = _BUTTONS | _SPECIAL | {BRANCHES, "BOUNDING_BOX", "CURVE", "INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}


@dataclass(frozen=True)
class Field:
    """One declared input. `kind` is a type name, "COMBO" for a choice; `controls` counts the editor's own entries behind the value."""

    name: str
    kind: str
    options: Mapping[str, Any]
    required: bool
    is_widget: bool
    forced: bool
    choices: Sequence[Any] | None
    controls: int
    branches: Mapping[str, Sequence[Field]] = field(default_factory=dict)
    """By value: the inputs that come with it."""

    def with_branch(self, value: Any) -> Sequence[Field]:
        """The inputs that a value brings."""
        return self.branches.get(value, ()) if isinstance(value, str) else ()

    @property
    def saved(self) -> bool:
        """Whether the value goes into a prompt; a button has none."""
        return self.kind not in _BUTTONS

    def default(self) -> tuple[Any, ...]:
        """The value an untouched widget has, as a tuple of one; empty where there is none to choose."""
        if "default" in self.options:
            return (self.options["default"],)
        if self.choices is not None:
            return tuple(self.choices[:1])
        return (_BLANK[self.kind],) if self.kind in _BLANK else ()


@dataclass(frozen=True)
class Form:
    """The inputs of a node type in the order in which the editor shows and saves them."""

    type: str
    title: str
    fields: Mapping[str, Field]
    outputs: tuple[tuple[str, Any], ...]
    upload: bool

    def widgets(self, node: Node | None = None) -> list[Field]:
        """The inputs that have a value; those that a pack shows as a widget are known by their socket in the file."""
        shown = {slot.widget for slot in node.inputs if slot.widget} if node is not None else set()
        return [f for f in self.fields.values() if (f.is_widget and not f.forced) or (f.name in shown and not f.forced)]


def form_of(type: str, definition: Mapping[str, Any]) -> Form:
    """Read one entry of /object_info; parts of an unexpected shape are passed over."""
    inputs = definition.get("input")
    order = definition.get("input_order")
    fields: dict[str, Field] = {}
    upload = False
    for section in ("required", "optional"):
        declared = inputs.get(section) if isinstance(inputs, Mapping) else None
        if not isinstance(declared, Mapping):
            continue
        listed = order.get(section) if isinstance(order, Mapping) else None
        names = [n for n in listed if isinstance(n, str) and n in declared] if isinstance(listed, list) else []
        for name in dict.fromkeys([*names, *declared]):
            found = _field(name, declared[name], section == "required")
            if found is not None:
                fields[name] = found
                upload |= found.required and found.choices is not None and any(found.options.get(u) is True for u in _UPLOADS)
    kinds, titles = (found if isinstance(found := definition.get(key), list) else [] for key in ("output", "output_name"))
    outputs = tuple((str(titles[i]) if i < len(titles) else _kind(kind), _kind(kind)) for i, kind in enumerate(kinds))
    title = definition.get("display_name")
    return Form(type, title if isinstance(title, str) and title else type, fields, outputs, upload)


def _kind(kind: Any) -> str:
    return kind if isinstance(kind, str) else "COMBO"


def _field(name: str, spec: Any, required: bool) -> Field | None:
    if not isinstance(spec, (list, tuple)) or not spec:
        return None
    options = spec[1] if len(spec) > 1 and isinstance(spec[1], Mapping) else {}
    choices: Sequence[Any] | None = spec[0] if isinstance(spec[0], (list, tuple)) else None
    kind = _kind(spec[0])
    if kind == "COMBO" and choices is None and isinstance(options.get("options"), (list, tuple)):
        choices = options["options"]
    shown = options.get("widgetType")
    is_widget = (shown if isinstance(shown, str) else kind) in WIDGET_KINDS
    flag = options.get(CONTROL)
    controlled = bool(flag) if flag is not None else name in _SEEDS
    controls = {"INT": 1, "COMBO": 2 if flag else 0}.get(kind, 0) if controlled else 0
    branches = _branches(name, options.get("options")) if kind == BRANCHES else {}
    choices = list(branches) if branches else choices
    return Field(name, kind, options, required, is_widget, bool(options.get("forceInput")), choices, controls, branches)


def _branches(name: str, listed: Any) -> dict[str, list[Field]]:
    found: dict[str, list[Field]] = {}
    for option in listed if isinstance(listed, (list, tuple)) else ():
        if not isinstance(option, Mapping) or not isinstance(key := option.get("key"), str):
            continue
        groups = option.get("inputs")
        specs = (
            [(f"{name}.{n}", s) for g in groups.values() if isinstance(g, Mapping) for n, s in g.items()]
            if isinstance(groups, Mapping)
            else []
        )
        found[key] = [part for n, s in specs if (part := _field(n, s, True)) is not None]
    return found


def values_of(node: Node, form: Form | None) -> tuple[dict[str, Any], bool]:
    """The values of a node by input name, defaults filled in where the type is known; and whether every saved value found its name."""
    if form is None:
        return _guessed(node)
    widgets = form.widgets(node)
    found, complete = _saved(node, form, widgets)
    left = list(widgets)
    while left:
        item = left.pop(0)
        if item.name not in found:
            found.update((item.name, untouched) for untouched in item.default())
        left = [*item.with_branch(found.get(item.name)), *left]
    return {name: value for name, value in found.items() if name not in form.fields or form.fields[name].saved}, complete


def _saved(node: Node, form: Form, widgets: Sequence[Field]) -> tuple[dict[str, Any], bool]:
    values = node.values
    if node.named or isinstance(values, dict):
        named = {**values, **node.named} if isinstance(values, dict) else node.named
        undeclared = [slot.widget for slot in node.inputs if slot.widget and slot.widget not in form.fields]
        brought = [part.name for item in form.fields.values() for parts in item.branches.values() for part in parts]
        return {name: named[name] for name in [*form.fields, *brought, *undeclared] if name in named}, True
    if not isinstance(values, list):
        return {}, values is None
    forced = {f.name for f in form.fields.values() if f.forced and f.is_widget}
    if forced and len(values) == _places(f for f in form.fields.values() if f.is_widget) + form.upload:
        widgets = [f for f in form.fields.values() if f.is_widget]  # editors of old saved an entry for inputs that are only sockets
        found = _walk(values, widgets)
        return {name: value for name, value in found.items() if name not in forced}, True
    return _walk(values, widgets), True


def overruled(node: Node, form: Form | None) -> list[str]:
    """Inputs whose value in the list is not the one by name, which counts: the list was edited by hand. Only where the type is the same
    as when the file was written, for then the list means what it says."""
    if form is None or not node.named or not isinstance(node.values, list):
        return []
    widgets = form.widgets(node)
    listed = _walk(node.values, widgets)
    if set(node.named) != {f.name for f in widgets if f.saved} or len(node.values) != len(positional(form, listed)):
        return []
    return [name for name, value in listed.items() if name in node.named and node.named[name] != value]


def _places(fields: Any) -> int:
    return sum(2 if f.name in _SEEDS and f.forced else 1 + f.controls for f in fields)


def _walk(values: Sequence[Any], widgets: Sequence[Field]) -> dict[str, Any]:
    """Values in their places. Where the entry behind a seed is no word of its kind, the file is from before there was one."""
    found: dict[str, Any] = {}
    at = 0
    left = list(widgets)
    while left and at < len(values):
        item = left.pop(0)
        found[item.name] = values[at]
        left = [*item.with_branch(values[at]), *left]
        at += 1
        if item.controls and at < len(values) and is_control(values[at]):
            at += item.controls
    return found


def is_control(value: Any) -> bool:
    """Whether a saved entry says what happens to a value after a run (in files of old: true or false)."""
    return isinstance(value, bool) or (isinstance(value, str) and value in CONTROL_WORDS)


def _guessed(node: Node) -> tuple[dict[str, Any], bool]:
    """Values of a node of unknown type: by the names in the file, else by the sockets of its widgets where the count agrees."""
    values = node.values
    if node.named or isinstance(values, dict):
        named = {**values, **node.named} if isinstance(values, dict) else node.named
        return {k: v for k, v in named.items() if not (k == CONTROL or (k in CONTROL_WORDS and v in CONTROL_WORDS))}, True
    if not isinstance(values, list) or not values:
        return {}, not values
    names = [slot.widget for slot in node.inputs if slot.widget]
    extra = len(values) - len(names)
    found: dict[str, Any] = {}
    at = 0
    for name in names:
        if at >= len(values):
            break
        found[name] = values[at]
        at += 1
        if extra > 0 and at < len(values) and _is_number(found[name]) and isinstance(values[at], str) and values[at] in CONTROL_WORDS:
            at, extra = at + 1, extra - 1
    complete = at == len(values) and len(found) == len(names)
    return (found, True) if complete else ({}, False)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def positional(form: Form, values: Mapping[str, Any]) -> list[Any]:
    """`widgets_values` for values by name: defaults where one is missing, seeds that stay as they are."""
    listed: list[Any] = []
    left = form.widgets()
    while left:
        item = left.pop(0)
        listed.append(values[item.name] if item.name in values else next(iter(item.default()), None))
        listed += ["fixed", ""][: item.controls]
        left = [*item.with_branch(listed[-1 - item.controls]), *left]
    return [*listed, "image"] if form.upload else listed


class Forms:
    """Forms by type, read when first asked for, from node definitions as /object_info gives them."""

    def __init__(self, definitions: Mapping[str, Any]) -> None:
        self._definitions = definitions
        self._read: dict[str, Form | None] = {}

    def get(self, type: str) -> Form | None:
        """The form of a type, None where the type is not known."""
        if type not in self._read:
            found = self._definitions.get(type)
            self._read[type] = form_of(type, found) if isinstance(found, Mapping) else None
        return self._read[type]

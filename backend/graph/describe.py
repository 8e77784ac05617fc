"""Node types as data: the published description that editors read, and a lossless form without code for the other process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from backend.graph.schema import Files, Input, Kind, NodeType, Output

Choices = Callable[[Files], list[str]]
_GROUPS = ("required", "optional", "hidden")
# Fields of NodeType that are code or have their own wire form.
_CODE = frozenset({"run", "lazy_status", "fingerprint", "validate", "instance_of", "refresh", "inputs", "outputs"})
_PLAIN = tuple((f.name, f.default) for f in fields(NodeType) if f.name not in _CODE)


def _resolve(value: Any, choices: Choices) -> Any:
    return choices(value) if isinstance(value, Files) else value


def _spec(i: Input, choices: Choices) -> list[Any]:
    kind: Any = list(i.kind) if isinstance(i.kind, tuple) else _resolve(i.kind, choices)
    if i.options is None:
        return [kind]
    return [kind, {k: _resolve(v, choices) for k, v in i.options.items()}]


def object_info(t: NodeType, choices: Choices) -> dict[str, Any]:
    """The published JSON of a node type; `choices` lists the files of file inputs now."""
    groups: dict[str, dict[str, Any]] = {g: {} for g in _GROUPS}
    for i in t.inputs:
        if i.hidden is not None:
            groups["hidden"][i.name] = [i.hidden] if t.form == "v3" else i.hidden
        else:
            groups["required" if i.required else "optional"][i.name] = _spec(i, choices)
    shown = {g: v for g, v in groups.items() if v or g == "required"}
    info: dict[str, Any] = {
        "input": shown,
        "input_order": {g: list(v) for g, v in shown.items()},
        "output": [list(o.kind) if isinstance(o.kind, tuple) else o.kind for o in t.outputs],
        "output_is_list": [o.is_list for o in t.outputs],
        "output_name": [o.name for o in t.outputs],
        "name": t.id,
        "display_name": t.title,
        "description": t.description,
        "python_module": t.module,
        "category": t.category,
        "output_node": t.is_output,
    }
    if t.form == "v3" or any(o.tooltip is not None for o in t.outputs):
        info["output_tooltips"] = [o.tooltip for o in t.outputs]
    for name, value in (("deprecated", t.deprecated), ("experimental", t.experimental), ("api_node", t.api_node)):
        if value or t.form == "v3":
            info[name] = value
    return info


def _kind_to_wire(kind: Any) -> Any:
    if isinstance(kind, Files):
        return {f.name: list(v) if isinstance(v := getattr(kind, f.name), tuple) else v for f in fields(Files)}
    return list(kind) if isinstance(kind, tuple) else kind


def _kind_from_wire(value: Any) -> Kind:
    if isinstance(value, dict):
        given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
        return Files(**given)
    return tuple(value) if isinstance(value, list) else value


def _options_to_wire(options: Mapping[str, Any] | None) -> Any:
    if options is None or Files not in map(type, options.values()):
        return options
    return {k: {"__files__": _kind_to_wire(v)} if isinstance(v, Files) else v for k, v in options.items()}


def _options_from_wire(options: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if options is None or not any(v.__class__ is dict for v in options.values()):
        return options
    return {k: _kind_from_wire(v["__files__"]) if isinstance(v, dict) and "__files__" in v else v for k, v in options.items()}


def to_wire(t: NodeType) -> dict[str, Any]:
    """A node type without its code, as plain data; what is as in most types is left out, for there are thousands."""
    held = vars(t)
    data: dict[str, Any] = {name: held[name] for name, default in _PLAIN if held[name] is not default}
    if t.validates:
        data["validates"] = list(t.validates)
    if t.refresh is not None:
        data["dynamic"] = True
    data["inputs"] = [_input_to_wire(i) for i in t.inputs]
    data["outputs"] = [_output_to_wire(o) for o in t.outputs]
    return data


def _input_to_wire(i: Input) -> list[Any]:
    name, kind, options, required, lazy, wildcard, hidden, raw_link, is_prefix = i
    shown = [name, kind if kind.__class__ is str else _kind_to_wire(kind), options and _options_to_wire(options), required]
    if lazy or wildcard or hidden or raw_link or is_prefix:
        shown += [lazy, wildcard, hidden, raw_link, is_prefix]
    return shown


def _output_to_wire(o: Output) -> list[Any]:
    name, kind, is_list, tooltip, wildcard = o
    shown = [name, _kind_to_wire(kind)]
    if is_list or tooltip is not None or wildcard:
        shown += [is_list, tooltip, wildcard]
    return shown


def from_wire(data: Mapping[str, Any]) -> NodeType:
    """The node type of its wire form: it describes and validates like the original, but cannot run."""
    rest = dict(data)
    rest.pop("dynamic", None)
    inputs = tuple([Input(i[0], _kind_from_wire(i[1]), _options_from_wire(i[2]), *i[3:]) for i in rest.pop("inputs")])
    outputs = tuple([Output(o[0], tuple(o[1]) if o[1].__class__ is list else o[1], *o[2:]) for o in rest.pop("outputs")])
    if rest.get("validates"):
        rest["validates"] = tuple(rest["validates"])
    return NodeType(inputs=inputs, outputs=outputs, run=None, **rest)

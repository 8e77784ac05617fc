"""What is odd about a node type, in sentences for the author of the pack. Odd is not broken: the node loads."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from backend.graph.schema import Input, NodeType

_NUMBERS = ("INT", "FLOAT")


def remarks(t: NodeType, cls: Any) -> list[str]:
    """Remarks on one node type. `cls`: the class it was read from, or None for a declared one, whose signature is its schema."""
    found = [sentence for i in t.inputs if i.hidden is None for sentence in _input(i)]
    if cls is None:
        return found
    return [*found, *_calls(t, cls), *_outputs(t, cls)]


def _input(i: Input) -> Iterator[str]:
    options = i.options or {}
    low, high, default = (options.get(key) for key in ("min", "max", "default"))
    if i.kind in _NUMBERS:
        for key, value in (("min", low), ("max", high), ("default", default)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                yield f"The {key} of {i.name} is {value!r:.40}, which is no number."
                return
        if low is not None and high is not None and low > high:
            yield f"The min of {i.name}, {low}, is above its max, {high}."
        elif default is not None and ((low is not None and default < low) or (high is not None and default > high)):
            yield f"The default of {i.name}, {default}, lies outside {low} to {high}."
    choices = i.kind if isinstance(i.kind, tuple) else tuple(options.get("options") or ()) if i.kind == "COMBO" else ()
    if choices and default is not None and not options.get("multiselect") and default not in choices:
        yield f"The default of {i.name}, {default!r:.60}, is not among its choices."
    if choices and len({str(c) for c in choices}) < len(choices):
        yield f"{i.name} has a choice twice."


def _calls(t: NodeType, cls: Any) -> Iterator[str]:
    """Whether the functions take the arguments they will be called with."""
    is_schema = t.form == "v3"
    names = [i.name for i in t.inputs if not (is_schema and i.hidden is not None)]
    sure = {i.name for i in t.inputs if i.required or i.hidden is not None}
    yield from _takes(getattr(cls, "execute" if is_schema else cls.FUNCTION), names, sure, "is run", has_self=not is_schema)
    changed = getattr(cls, "fingerprint_inputs" if is_schema else "IS_CHANGED", None)
    if changed is not None:
        yield from _takes(changed, [i.name for i in t.inputs if i.hidden is None], sure, "is asked whether it changed")
    lazy = [i.name for i in t.inputs if i.lazy]
    if lazy and getattr(cls, "check_lazy_status", None) is None:
        yield f"{lazy[0]} is lazy but there is no check_lazy_status: it will always be None."
    validate = getattr(cls, "validate_inputs" if is_schema else "VALIDATE_INPUTS", None)
    for name, p in _parameters(validate).items():
        if name not in names and name != "input_types" and p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL):
            yield f"The validation wants {name}, which is no input."


def _takes(function: Any, names: list[str], sure: set[str], when: str, has_self: bool = False) -> Iterator[str]:
    parameters = _parameters(function)
    if has_self:
        parameters = dict(list(parameters.items())[1:])
    if not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        unknown = [n for n in names if n not in parameters or parameters[n].kind is parameters[n].POSITIONAL_ONLY]
        if unknown:
            yield f"When the node {when}, it is given {', '.join(unknown)}, which {_name(function)} does not take."
    for name, p in parameters.items():
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY, p.POSITIONAL_ONLY) and name not in sure:
            what = "an optional input that may be absent" if name in names else "no input"
            yield f"When the node {when}, {_name(function)} wants {name}, which is {what}."


def _outputs(t: NodeType, cls: Any) -> Iterator[str]:
    if t.form == "v3":
        return
    kinds = len(t.outputs)
    for attribute in ("RETURN_NAMES", "OUTPUT_IS_LIST", "OUTPUT_TOOLTIPS"):
        value = getattr(cls, attribute, None)
        if value is not None and not isinstance(value, str) and len(value) != kinds:
            yield f"{attribute} has {len(value)} entries for {kinds} outputs."
    if not isinstance(getattr(cls, "OUTPUT_NODE", False), bool):
        yield "OUTPUT_NODE is neither True nor False, and counts as False."
    if not t.outputs and not t.is_output:
        yield "It has no outputs and is no OUTPUT_NODE: nothing will ever run it."


def _parameters(function: Callable[..., Any] | None) -> dict[str, inspect.Parameter]:
    if function is None:
        return {}
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # built in, or decorated beyond recognition
        return {"kwargs": inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD)}


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", "the function"))

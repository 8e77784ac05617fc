"""The errors of one node, in the protocol's words (type, message, details, extra_info). `extra_info.hint` says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from backend.graph.choices import Choices
from backend.graph.document import Link
from backend.graph.schema import Files, Input

MANY_CHOICES = 20
_COMPARED = 500  # choices that a mistyped one is compared with, which costs some 20 µs each
Complaint = dict[str, Any]
_WIDGETS = {"INT": "a whole number", "FLOAT": "a finite number", "STRING": "a text", "BOOLEAN": "true or false"}


def config(i: Input, choices: Choices | None) -> list[Any]:
    """`input_config`: the published [type, options] of an input."""

    def resolve(value: Any) -> Any:
        if isinstance(value, Files):
            return choices(value) if choices is not None else []
        return list(value) if isinstance(value, tuple) else value

    return [resolve(i.kind), {k: resolve(v) for k, v in (i.options or {}).items()}]


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def required_missing(name: str) -> Complaint:
    return {
        "type": "required_input_missing",
        "message": "Required input is missing",
        "details": name,
        "extra_info": {"input_name": name, "hint": "Give it a value, or connect it."},
    }


def bad_link(i: Input, value: Any, choices: Choices | None) -> Complaint:
    return {
        "type": "bad_linked_input",
        "message": "Bad linked input, must be a length-2 list of [node_id, slot_index]",
        "details": i.name,
        "extra_info": {
            "input_name": i.name,
            "input_config": config(i, choices),
            "received_value": value,
            "hint": 'Write a link as ["id of the node", output]; a list that is a value as {"__value__": [...]}.',
        },
    }


def type_mismatch(i: Input, received: Any, link: Link, choices: Choices | None) -> Complaint:
    wanted = config(i, choices)
    received = list(received) if isinstance(received, tuple) else received
    return {
        "type": "return_type_mismatch",
        "message": "Return type mismatch between linked nodes",
        "details": f"{i.name}, received_type({_shown(received)}) mismatch input_type({_shown(wanted[0])})",
        "extra_info": {
            "input_name": i.name,
            "input_config": wanted,
            "received_type": received,
            "linked_node": list(link),
            "hint": f"Connect an output of type {_shown(wanted[0])}.",
        },
    }


def bad_type(i: Input, value: Any, reason: str, choices: Choices | None) -> Complaint:
    return {
        "type": "invalid_input_type",
        "message": f"Failed to convert an input value to a {i.kind} value",
        "details": f"{i.name}, {_shown(value)}, {reason}",
        "extra_info": {
            "input_name": i.name,
            "input_config": config(i, choices),
            "received_value": value,
            "exception_message": reason,
            "hint": f"Give it {_WIDGETS.get(str(i.kind), 'another value')}.",
        },
    }


def out_of_range(i: Input, value: Any, bound: Any, below: bool, choices: Choices | None) -> Complaint:
    word = "smaller than min" if below else "bigger than max"
    options = i.options or {}
    ends = [f"{text} {options[end]}" for end, text in (("min", "at least"), ("max", "at most")) if end in options]
    return {
        "type": "value_smaller_than_min" if below else "value_bigger_than_max",
        "message": f"Value {_shown(value)} {word} of {bound}",
        "details": i.name,
        "extra_info": {
            "input_name": i.name,
            "input_config": config(i, choices),
            "received_value": value,
            "hint": f"Give it a value of {' and '.join(ends)}.",
        },
    }


def not_in_list(i: Input, value: Any, offered: Sequence[Any], choices: Choices | None) -> Complaint:
    many = len(offered) > MANY_CHOICES
    shown = f"(list of length {len(offered)})" if many else str(list(offered))
    return {
        "type": "value_not_in_list",
        "message": "Value not in list",
        "details": f"{i.name}: '{_shown(value)}' not in {shown}",
        "extra_info": {
            "input_name": i.name,
            "input_config": None if many else config(i, choices),
            "received_value": value,
            "hint": _choose(i, value, offered),
        },
    }


def _choose(i: Input, value: Any, offered: Sequence[Any]) -> str:
    """What to do about a value that is not offered: the offered one that looks most like it, where to put a missing file."""
    if isinstance(value, str):
        near = difflib.get_close_matches(value[:200], [o for o in offered[:_COMPARED] if isinstance(o, str)], 1, 0.8)
        if near:
            return f"Did you mean '{near[0]}'?"
    listed = (i.options or {}).get("options")
    files = i.kind if isinstance(i.kind, Files) else listed if isinstance(listed, Files) else None
    if files is None:
        return "Choose one of the values that are offered."
    where = f"the {files.kind} directory" if files.kind in ("input", "output", "temp") else f"models/{files.kind}"
    return f"Put the file into {where}" + (", or choose one that is there." if offered else "; there is none yet.")


def bad_prefix(i: Input, value: Any, reason: str, choices: Choices | None) -> Complaint:
    return {
        "type": "custom_validation_failed",
        "message": "The files cannot be saved under this name",
        "details": f"{i.name} - {reason}",
        "extra_info": {"input_name": i.name, "input_config": config(i, choices), "received_value": value},
    }


def custom_failed(name: str, answer: Any) -> Complaint:
    details = name if answer is False else f"{name} - {answer}"
    return {
        "type": "custom_validation_failed",
        "message": "Custom validation failed for node",
        "details": details,
        "extra_info": {"input_name": name},
    }


def broken(kind: str, message: str, traceback: Sequence[str] = (), consumer: tuple[Input | str, Link] | None = None) -> Complaint:
    """Something that made checking the node itself impossible. `consumer`: the input below through which the node was reached."""
    info: dict[str, Any] = {"exception_type": kind, "traceback": list(traceback)}
    if consumer is None:
        return {
            "type": "exception_during_validation",
            "message": "Exception when validating node",
            "details": message,
            "extra_info": info,
        }
    below, link = consumer
    name = below if isinstance(below, str) else below.name
    info |= {
        "input_name": name,
        "input_config": None if isinstance(below, str) else config(below, None),
        "exception_message": message,
        "linked_node": list(link),
    }
    return {
        "type": "exception_during_inner_validation",
        "message": "Exception when validating inner node",
        "details": message,
        "extra_info": info,
    }

"""`--set node.input=value`: changing a graph from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from backend.base.errors import BadInput

Graph = dict[str, dict[str, Any]]


def assign(graph: Graph, assignments: Iterable[str], info: Mapping[str, Any]) -> Graph:
    """A copy of the graph with each `node.input=value` applied.

    `node` is an id, a title or, when just one node has it, a class name; `info` is the server's object_info, which knows the inputs
    a graph leaves out. Raises BadInput naming what was not found and what there is.
    """
    changed = {id: {**node, "inputs": dict(node.get("inputs") or {})} for id, node in graph.items()}
    for assignment in assignments:
        place, equals, written = assignment.partition("=")
        name, dot, input = place.rpartition(".")
        if not equals or not dot or not name or not input:
            raise BadInput(f"--set {assignment!r} is not of the form node.input=value.", hint="For example --set Sampler.seed=7.")
        node = find(changed, name)
        inputs = changed[node]["inputs"]
        known = declared(info, changed[node]["class_type"]) | set(inputs)
        if input not in known:
            has = ", ".join(sorted(known)) or "none"
            raise BadInput(f"Node {name!r} has no input {input!r}.", hint=f"Its inputs are: {has}.", node=node, input=input)
        inputs[input] = value(written, inputs.get(input))
    return changed


def find(graph: Mapping[str, Any], name: str) -> str:
    """The id of the node a person means. Raises BadInput when none or several answer to the name."""
    if name in graph:
        return name
    titled = [id for id, node in graph.items() if str((node.get("_meta") or {}).get("title", "")).casefold() == name.casefold()]
    named = titled or [id for id, node in graph.items() if node.get("class_type") == name]
    if len(named) == 1:
        return named[0]
    if named:
        raise BadInput(f"{len(named)} nodes are called {name!r}.", hint=f"Use one of their ids: {', '.join(named)}.")
    raise BadInput(f"No node is called {name!r}.", hint=f"The graph has: {', '.join(label(id, node) for id, node in graph.items())}.")


def label(id: str, node: Mapping[str, Any]) -> str:
    """How a node is named in a sentence."""
    return f"{id} ({(node.get('_meta') or {}).get('title') or node.get('class_type')})"


def declared(info: Mapping[str, Any], class_type: str) -> set[str]:
    """The inputs a node type has, as /object_info tells."""
    inputs = (info.get(class_type) or {}).get("input") or {}
    return set(inputs.get("required") or {}) | set(inputs.get("optional") or {})


def value(written: str, current: object) -> Any:
    """Text stays text where text was; elsewhere JSON is read, and what is no JSON is text."""
    if isinstance(current, str):
        return written
    try:
        return json.loads(written)
    except ValueError:
        return written

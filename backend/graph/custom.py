"""Checks that a node type does itself. They are collected and asked together, since their code may live in another process."""

from __future__ import annotations

import asyncio
import inspect
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backend.graph.document import BadLink, Link, Node
from backend.graph.registry import Registry
from backend.graph.schema import NodeType


@dataclass(frozen=True, slots=True)
class Question:
    """Ask type `type` about the inputs of a node. `values`: constants, None where something is wired in; `types`: what is wired in."""

    node: str
    type: str
    values: Mapping[str, Any]
    types: Mapping[str, Any]

    def to_json(self) -> list[Any]:
        return [self.node, self.type, dict(self.values), {k: list(v) if isinstance(v, tuple) else v for k, v in self.types.items()}]

    @classmethod
    def from_json(cls, row: Sequence[Any]) -> Question:
        return cls(row[0], row[1], row[2], row[3])


# True: fine. A text: what is wrong. A mapping {"exception_type", "message", "traceback"}: the check itself failed. Anything else: wrong.
Answer = Any
Ask = Callable[[Sequence[Question]], Sequence[Answer]]


def question(node: Node, t: NodeType, types: Mapping[str, Any]) -> Question:
    """The question a node's type wants asked, with the inputs it looks at."""

    def wanted(name: str) -> bool:
        return t.validates is None or name in t.validates

    values = {
        k: None if v.__class__ is Link or v.__class__ is BadLink else v
        for k, v in node.inputs.items()
        if wanted(k) and (k in t.by_name or t.any_input)
    }
    if t.passes_hidden:
        known = {"UNIQUE_ID": node.id, "PROMPT": {}}
        values |= {name: known.get(word) for name, word in t.hidden.items() if t.validates is not None and name in t.validates}
    return Question(node.id, t.id, values, types if t.validates_types else {})


def answer(registry: Registry, questions: Sequence[Question]) -> list[Answer]:
    """Ask the types themselves; a check that raises answers with its exception. Runs where the code of the types is."""
    return [_answer(registry.get(q.type), q) for q in questions]


def _answer(t: NodeType | None, q: Question) -> Answer:
    if t is None or t.validate is None:
        return True
    given = dict(q.values)
    if t.validates_types:
        given["input_types"] = dict(q.types)
    try:
        found = t.validate(**given)
        if inspect.isawaitable(found):
            found = asyncio.run(_wait(found))
    except BaseException as error:  # noqa: BLE001 - foreign code, which may exit too; the exception is the answer
        kind = type(error)
        name = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return {"exception_type": name, "message": str(error), "traceback": traceback.format_tb(error.__traceback__)}
    if isinstance(found, (list, tuple)) and len(found) == 1:
        found = found[0]
    return found if found is True or isinstance(found, str) else False if found is False or found is None else str(found)


async def _wait(awaitable: Any) -> Any:
    return await awaitable

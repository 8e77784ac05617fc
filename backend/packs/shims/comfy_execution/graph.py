"""Blockers, and the running graph."""

from __future__ import annotations

from typing import Any

from backend.engine.context import Blocker
from backend.packs.dynamic_prompt import DynamicPrompt
from backend.packs.facade import Dressed

__all__ = ["DynamicPrompt", "ExecutionBlocker", "get_input_info"]


class DependencyCycleError(Exception):
    pass


class NodeInputError(Exception):
    pass


class NodeNotFoundError(Exception):
    pass


class ExecutionBlocker(Blocker, Dressed):
    """In an output: consumers are not run."""

    def undressed(self) -> Blocker:
        return Blocker(self.message)


def dress(value: Blocker) -> ExecutionBlocker:
    return ExecutionBlocker(value.message)


def get_input_info(class_def: Any, input_name: str, valid_inputs: Any = None) -> tuple[Any, Any, Any]:
    """(type, category, options) of an input, or three Nones."""
    given = class_def.INPUT_TYPES() if valid_inputs is None else valid_inputs
    for category in ("required", "optional", "hidden"):
        if input_name in given.get(category, {}):
            spec = given[category][input_name]
            spec = spec if isinstance(spec, (tuple, list)) else (spec,)
            return spec[0], category, spec[1] if len(spec) > 1 else {}
    return None, None, None


class TopologicalSort:
    def __init__(self, dynprompt: Any) -> None:
        self.dynprompt = dynprompt


class ExecutionList(TopologicalSort):
    """The order is decided elsewhere; the class is here to be named."""

"""The ready-made graphs of web/templates. `python -m tools.templates` writes the files.

Graphs are put down in the API form, short enough to read; the files are their editor form, laid out from left to right, with a drawing
of the graph as thumbnail. Each module beside this one that has `TEMPLATES` adds to the gallery.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import uuid
from pathlib import Path
from typing import Any

from backend.graph.describe import object_info
from backend.graph.document import Prompt
from backend.graph.schema import Files
from backend.workflow.from_prompt import from_prompt
from tools.templates.parts import Graph, Template

FOLDER = Path(__file__).resolve().parent.parent.parent / "web" / "templates"
_NAMESPACE = uuid.UUID("c0f1a7c2-55b5-5b0e-8e53-7f3a0b1d2c4e")


def templates() -> tuple[Template, ...]:
    """Every template, module by module."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = (importlib.import_module(f"{__name__}.{name}") for name in names)
    return tuple(template for module in modules for template in getattr(module, "TEMPLATES", ()))


@functools.cache
def definitions() -> dict[str, Any]:
    """What /object_info says on a machine without model files."""
    from nodes import builtin

    def choices(files: Files) -> list[str]:
        return list(files.extra)

    return {type.id: object_info(type, choices) for type in builtin()}


def workflow(template: Template, known: dict[str, Any]) -> dict[str, Any]:
    """The editor form of a template."""
    return {**from_prompt(Prompt.parse(_numbered(template.graph)), known), "id": str(uuid.uuid5(_NAMESPACE, template.name))}


def _numbered(graph: Graph) -> Graph:
    """The graph with its nodes called 1, 2, 3 ..."""
    numbers = {id: str(number) for number, id in enumerate(graph, 1)}

    def renamed(value: Any) -> Any:
        return [numbers[value[0]], value[1]] if isinstance(value, list) else value

    return {numbers[id]: {**node, "inputs": {name: renamed(value) for name, value in node["inputs"].items()}} for id, node in graph.items()}


def entry(template: Template) -> dict[str, Any]:
    """What the index says of a template."""
    return {
        "name": template.name,
        "title": template.title,
        "description": template.description,
        "thumbnail": f"{template.name}.svg",
        "models": [{"name": model.name, "kind": model.kind, "folder": model.folder} for model in template.models],
    }

"""The built-in nodes: one file per shelf of the add-node menu. Dropping a file here adds its nodes.

A node is a thin typed function: it calls the rooms below and holds no mathematics of its own beyond a few tensor lines. How to write one is
told in docs/nodes.md.
"""

from __future__ import annotations

import importlib
import pkgutil

from backend.graph.declare import declared
from backend.graph.schema import NodeType


def builtin() -> list[NodeType]:
    """Every node type of this package, shelf by shelf in alphabetical order. Raises ValueError when two share an id."""
    found: dict[str, NodeType] = {}
    for name in sorted(m.name for m in pkgutil.iter_modules(__path__)):
        for node_type in declared(vars(importlib.import_module(f"{__name__}.{name}"))):
            if found.setdefault(node_type.id, node_type) is not node_type:
                raise ValueError(f"two nodes are called {node_type.id!r}; one of them is in nodes/{name}.py")
    return list(found.values())

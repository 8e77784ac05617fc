"""The running graph as node packs know it (the DYNPROMPT hidden input)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.engine.expand import RunGraph


class DynamicPrompt:
    """A read-only view with the method names that packs call."""

    def __init__(self, graph: RunGraph) -> None:
        self._graph = graph

    def get_node(self, node_id: str) -> Mapping[str, Any]:
        """The document of a node. Raises KeyError for an unknown id."""
        return self._graph.nodes[node_id].raw

    def has_node(self, node_id: str) -> bool:
        return node_id in self._graph.nodes

    def get_real_node_id(self, node_id: str) -> str:
        return self._graph.real(node_id)

    def get_parent_node_id(self, node_id: str) -> str | None:
        return self._graph.parent(node_id)

    def get_display_node_id(self, node_id: str) -> str:
        return self._graph.display(node_id)

    def all_node_ids(self) -> set[str]:
        return set(self._graph.nodes)

    def get_original_prompt(self) -> Mapping[str, Any]:
        return self._graph.document

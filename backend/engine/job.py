"""What a run is given, and what outlives it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from backend.graph.document import Node, Prompt
from backend.graph.schema import NodeType


def now() -> int:
    """Milliseconds since the epoch."""
    return int(time.time() * 1000)


@dataclass(frozen=True, slots=True)
class Job:
    """What to run: `targets` are the outputs wanted, `extra` the job's extra data (EXTRA_PNGINFO under "extra_pnginfo")."""

    id: str
    prompt: Prompt
    targets: tuple[str, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """What an earlier run knew of its nodes; kept to say why a node runs again, and to digest only what changed.

    `digests` holds those of expansions too, `signed` the document's alone, sources first; `personal` are the types of `personal_types`.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    digests: Mapping[str, bytes] = field(default_factory=dict)
    prints: Mapping[str, bytes] = field(default_factory=dict)
    signed: Mapping[str, bytes] = field(default_factory=dict)
    personal: frozenset[str] = frozenset()


class Instances:
    """Node objects by (node id, type), kept while that pair stays in consecutive documents."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Any, str]] = {}

    def begin(self, prompt: Prompt) -> None:
        """Forget the objects of nodes that left the document, or whose expanding node did."""
        if self._kept:
            nodes = prompt.nodes
            self._kept = {k: v for k, v in self._kept.items() if v[1] in nodes and (k[0] != v[1] or nodes[v[1]].type == k[1])}

    def get(self, id: str, real: str, t: NodeType) -> Any:
        """The object of node `id`, which comes from node `real` of the document."""
        found = self._kept.get((id, t.id))
        if found is None or found[0].__class__ is not t.instance_of:
            assert t.instance_of is not None
            found = self._kept[id, t.id] = (t.instance_of(), real)
        return found[0]

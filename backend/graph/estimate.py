"""What a graph would hold in memory at least, from its sizes alone: a job that cannot fit is refused before it waits for its turn.

Sizes flow from the nodes that name them (`width`, `height`, `batch_size`) along pictures, masks and latents; a few names change them on the
way (`scale_by`, `amount`, `megapixels`). Only results are counted, in float32, so the estimate is a lower bound and what it refuses cannot
run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from backend.base.errors import BadInput
from backend.graph.document import Link, Node, Prompt
from backend.graph.schema import NodeType

_NAMES = frozenset({"width", "height", "batch_size", "scale_by", "amount", "megapixels"})
_KINDS = frozenset({"IMAGE", "MASK", "LATENT"})
_PER_PIXEL = {"IMAGE": 12.0, "MASK": 4.0, "LATENT": 0.25}  # bytes: three floats, one, and four channels at an eighth of both sides


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels across and down, and how many."""

    width: float = 0.0
    height: float = 0.0
    batch: float = 1.0

    @property
    def pixels(self) -> float:
        return self.width * self.height * self.batch


@dataclass(frozen=True, slots=True)
class Demand:
    """The largest result of a graph."""

    node: str
    kind: str
    size: Size
    bytes: float


def sizing(types: Iterable[NodeType]) -> frozenset[str]:
    """The types whose constants decide about sizes."""
    return frozenset(t.id for t in types if any(i.name in _NAMES for i in t.inputs))


def largest(prompt: Prompt, registry: Mapping[str, NodeType]) -> Demand | None:
    """The node whose result takes most memory, or None when no size is known. Loops are left to the validation."""
    sizes: dict[str, Size] = {}
    most: Demand | None = None
    for id in _in_order(prompt):
        node, t = prompt.nodes[id], registry.get(prompt.nodes[id].type)
        kinds = [] if t is None else [o.kind for o in t.outputs if isinstance(o.kind, str) and o.kind in _KINDS]
        if not kinds:
            continue
        size = sizes[id] = _size_of(node, sizes)
        kind = max(kinds, key=lambda k: _PER_PIXEL[k])
        bytes = size.pixels * _PER_PIXEL[kind]
        if most is None or bytes > most.bytes:
            most = Demand(id, kind, size, bytes)
    return most


def refuse_impossible(prompt: Prompt, registry: Mapping[str, NodeType], sizing: frozenset[str], limit: int) -> None:
    """Raises BadInput, with the numbers, when one result alone is larger than `limit` bytes (0: unknown, nothing is refused)."""
    deciding = [node for node in prompt.nodes.values() if node.type in sizing]
    if limit <= 0 or _bound(deciding) <= limit:
        return
    found = largest(prompt, registry)
    if found is None or found.bytes <= limit:
        return
    s, type = found.size, prompt.nodes[found.node].type
    raise BadInput(
        f"Node {found.node} ({type}) would make {s.batch:,.0f} x {s.width:,.0f} x {s.height:,.0f} pixels of {found.kind}: "
        f"at least {_gib(found.bytes)} GiB, and this machine has {_gib(limit)} GiB in all.",
        hint="Use a smaller size or batch.",
        node=found.node,
    )


def _bound(nodes: list[Node]) -> float:
    """No result can be larger than this: every size at its largest, every factor applied."""
    width = height = batch = factor = 1.0
    for node in nodes:
        width = max(width, _number(node, "width") or 0.0)
        height = max(height, _number(node, "height") or 0.0)
        batch = max(batch, _number(node, "batch_size") or 0.0)
        factor *= max(1.0, _number(node, "scale_by") or 0.0) ** 2 * max(1.0, _number(node, "amount") or 0.0)
        if (side := _side(node)) is not None:
            width, height = max(width, side), max(height, side)
    return width * height * batch * factor * _PER_PIXEL["IMAGE"]


def _size_of(node: Node, sizes: Mapping[str, Size]) -> Size:
    size = Size()
    for value in node.inputs.values():
        if isinstance(value, Link) and (other := sizes.get(value.node)) is not None:
            size = Size(max(size.width, other.width), max(size.height, other.height), max(size.batch, other.batch))
    width, height = _number(node, "width"), _number(node, "height")
    if width is not None and height is not None:
        size = replace(size, width=width or size.width, height=height or size.height)
    if (side := _side(node)) is not None:
        size = replace(size, width=side, height=side)
    if (scale := _number(node, "scale_by")) is not None:
        size = replace(size, width=size.width * scale, height=size.height * scale)
    batch = (_number(node, "batch_size") or 1.0) * (_number(node, "amount") or 1.0)
    return replace(size, batch=size.batch * batch)


def _side(node: Node) -> float | None:
    pixels = _number(node, "megapixels")
    return None if pixels is None else (pixels * 2**20) ** 0.5


def _number(node: Node, name: str) -> float | None:
    value: Any = node.inputs.get(name)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _in_order(prompt: Prompt) -> list[str]:
    """Ids, those of sources first; what is part of a loop is left out."""
    nodes = prompt.nodes
    waits: dict[str, int] = {}
    feeds: dict[str, list[str]] = {}
    for id, node in nodes.items():
        sources = {v.node for v in node.inputs.values() if isinstance(v, Link) and v.node in nodes}
        waits[id] = len(sources)
        for source in sources:
            feeds.setdefault(source, []).append(id)
    ready = [id for id, count in waits.items() if count == 0]
    for id in ready:
        for other in feeds.get(id, ()):
            waits[other] -= 1
            if waits[other] == 0:
                ready.append(other)
    return ready


def _gib(bytes: float) -> str:
    return f"{bytes / 2**30:,.1f}"

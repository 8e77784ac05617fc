"""A node's identity: a Merkle digest of its type, its constants and its ancestors' digests. Equal digests mean equal results."""

from __future__ import annotations

import marshal
import os
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from backend.graph.document import Link, Node, difference
from backend.graph.registry import Registry

# Version 2 of the format writes values without references to earlier ones, so that equal values give equal bytes.
_FORMAT = 2


_DIGEST, _UNIQUE = 16, 17  # bytes; their lengths tell digests from what stands for "equals nothing"


def unique() -> bytes:
    """A digest that equals no other."""
    return os.urandom(_UNIQUE)


def is_unique(digest: bytes) -> bool:
    """Whether a digest was made by `unique`."""
    return len(digest) == _UNIQUE


def _canonical(value: Any) -> Any:
    """Dictionaries by sorted key, in a form that no other value takes."""
    if value.__class__ is dict:
        return (b"{}", [(k, _canonical(value[k])) for k in sorted(value)])
    if value.__class__ is list:
        return [_canonical(v) for v in value]
    if value.__class__ is tuple:
        return (b"()", [_canonical(v) for v in value])
    if value != value:
        raise ValueError("not equal to itself")
    return value


def encode(value: Any) -> bytes | None:
    """Bytes that are equal exactly for equal plain values; None for what never equals anything (NaN, objects)."""
    try:
        return marshal.dumps(_canonical(value), _FORMAT)
    except (ValueError, TypeError, RecursionError):
        return None


def digest(node: Node, personal: bool, changed: Any, known: Mapping[str, bytes]) -> bytes:
    """The digest of one node whose sources are in `known`. `changed`: its fingerprint; `personal`: its id is part of what it depends on.

    Raises KeyError when a source is missing. Constants that are not plain data give a unique digest.
    """
    parts: list[Any] = [node.type, changed, node.id if personal else None]
    inputs = node.inputs
    for name in sorted(inputs) if len(inputs) > 1 else inputs:
        value = inputs[name]
        kind = value.__class__
        parts.append(name)
        if kind is Link:
            parts.append((known[value.node], value.slot))
        elif kind is str or kind is int or kind is bool or value is None:
            parts.append(value)
        else:
            encoded = encode(value)
            if encoded is None:
                return unique()
            parts.append(encoded)
    try:
        return blake2b(marshal.dumps(parts, _FORMAT), digest_size=_DIGEST).digest()
    except ValueError:  # a subclass of str or int, or a fingerprint that is no plain value
        return unique()


def signatures(
    nodes: Mapping[str, Node], registry: Registry, changed: Mapping[str, bytes] | None = None, known: Mapping[str, bytes] | None = None
) -> dict[str, bytes]:
    """The digest of every node, in one pass without recursion. `changed` holds fingerprints, `known` digests that exist already.

    Nodes on a loop, or that depend on what is not there, get unique digests.
    """
    prints = changed or {}
    done: dict[str, bytes] = dict(known or {})
    personal: dict[str, bool] = {}
    stack: list[str] = []
    opened: set[str] = set()
    for start in nodes:
        if start in done:
            continue
        stack.append(start)
        while stack:
            id = stack[-1]
            if id in done:
                stack.pop()
                continue
            node = nodes[id]
            own = personal.get(node.type)
            if own is None:
                t = registry.get(node.type)
                own = personal[node.type] = t is not None and t.is_personal
            try:
                made = digest(node, own, prints.get(id), done)
            except KeyError:  # a source has no digest yet; documents mostly name sources first, so this is the exception
                if id not in opened:
                    opened.add(id)
                    stack.extend(v.node for v in node.inputs.values() if v.__class__ is Link and v.node not in done and v.node in nodes)
                    continue
                made = unique()
            done[id] = made
            stack.pop()
    return done


def personal_types(nodes: Mapping[str, Node], registry: Registry) -> frozenset[str]:
    """The types among `nodes` whose results depend on the node's id too."""
    return frozenset(id for id in {n.type for n in nodes.values()} if (t := registry.get(id)) is not None and t.is_personal)


def again(
    nodes: Mapping[str, Node],
    personal: frozenset[str],
    prints: Mapping[str, bytes],
    old_nodes: Mapping[str, Node],
    old_prints: Mapping[str, bytes],
    old: Mapping[str, bytes],
) -> dict[str, bytes] | None:
    """The digests of a document that differs from an earlier one in constants and fingerprints only; None where more differs.

    `old` are the digests of `old_nodes` as `signatures` made them, sources first: only what changed and what depends on it is digested.
    The same types must be personal in both.
    """
    changed = difference(old_nodes, nodes)
    if changed is None or len(old) != len(nodes):
        return None
    stale = {id for id, d in old.items() if len(d) == _UNIQUE}
    stale.update(changed)
    if prints or old_prints:
        stale.update(id for id in {**prints, **old_prints} if prints.get(id) != old_prints.get(id))
    made = dict(old)
    if not stale:
        return made
    fresh = stale.isdisjoint
    for id in old:
        node = nodes[id]
        if id in stale or not fresh(node.sources):
            stale.add(id)
            try:
                made[id] = digest(node, node.type in personal, prints.get(id), made)
            except KeyError:
                made[id] = unique()
    return made


def why(
    node: Node,
    old: Node,
    new_digests: Mapping[str, bytes],
    old_digests: Mapping[str, bytes],
    changed: bytes | None,
    old_changed: bytes | None,
) -> str:
    """Why `node` cannot reuse the result of the earlier node of the same id, in words."""
    if node.type != old.type:
        return f"its type changed from {old.type}"
    if changed != old_changed:
        return "what it reads changed"
    for name in [*node.inputs, *(n for n in old.inputs if n not in node.inputs)]:
        if name not in old.inputs:
            return f"input `{name}` was added"
        if name not in node.inputs:
            return f"input `{name}` was removed"
        now, before = node.inputs[name], old.inputs[name]
        if now.__class__ is Link:
            if before.__class__ is not Link:
                return f"input `{name}` was wired to node {now.node}"
            if new_digests.get(now.node) != old_digests.get(before.node) or now.slot != before.slot:
                moved = now != before
                return f"input `{name}` " + (f"was wired to node {now.node}" if moved else f"comes from node {now.node}, which runs again")
        elif before.__class__ is Link:
            return f"input `{name}` is no longer wired"
        elif now.__class__ is not before.__class__ or encode(now) is None or encode(now) != encode(before):
            return f"input `{name}` changed"
    if new_digests.get(node.id) != old_digests.get(node.id):
        return "it depends on its place in the graph, which changed"
    return "its earlier result is not kept any more"

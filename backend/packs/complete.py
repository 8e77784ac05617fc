"""All node types: the built-in ones, what packs bring, and what packs add to built-in choices."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from backend.diffusion.samplers import SAMPLERS
from backend.diffusion.schedules import SCHEDULERS
from backend.graph.registry import Registry
from backend.graph.schema import Input, NodeType
from backend.packs.core_nodes import builtin_types
from backend.packs.host import HOST
from backend.packs.pack import Pack


def complete(types: Iterable[NodeType]) -> Registry:
    """The registry of a process that has loaded packs. Built-in ids stay built in."""
    core = builtin_types()
    registry = Registry(_grown(core)).with_types(types, replace=False)
    HOST.types = lambda: registry
    return registry


def note_clashes(packs: Iterable[Pack]) -> None:
    """Say of every node whose name is taken that it is left out, and for whom: the application, or the pack that was loaded last."""
    core = builtin_types()
    used: dict[str, Pack] = {t.id: pack for pack in packs for t in pack.types}
    for pack in packs:
        for t in pack.types:
            if t.id in core:
                pack.faults[t.id] = "The application has a node of that name, which is used."
            elif used[t.id] is not pack:
                pack.faults[t.id] = f"The pack {used[t.id].name} has a node of that name, which is used."


def note_prestartup(packs: Iterable[Pack], failed: Iterable[Pack]) -> None:
    """Say of every pack whose prestartup_script.py failed why it did."""
    errors = {pack.path: pack.error or "" for pack in failed}
    for pack in packs:
        if pack.path in errors:
            pack.faults["prestartup_script.py"] = errors[pack.path]


def _grown(core: Mapping[str, NodeType]) -> list[NodeType]:
    """Built-in types, with the samplers and schedulers that packs have added among their choices."""
    if "comfy.samplers" not in sys.modules:
        return list(core.values())
    before = (tuple(SAMPLERS), tuple(SCHEDULERS))
    importlib.import_module("comfy.samplers").register_new()
    after = (tuple(SAMPLERS), tuple(SCHEDULERS))
    if before == after:
        return list(core.values())
    more = dict(zip(before, after))
    return [_with_choices(t, more) for t in core.values()]


def _with_choices(t: NodeType, more: Mapping[tuple[Any, ...], tuple[Any, ...]]) -> NodeType:
    if not any(i.kind in more for i in t.inputs if isinstance(i.kind, tuple)):
        return t
    return replace(t, inputs=tuple(_input(i, more) for i in t.inputs))


def _input(i: Input, more: Mapping[tuple[Any, ...], tuple[Any, ...]]) -> Input:
    return i._replace(kind=more[i.kind]) if isinstance(i.kind, tuple) and i.kind in more else i

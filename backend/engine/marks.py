"""What tells a file that a node reads from the one it read before: a model that was trained again keeps its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from backend.base.paths import ALIASES, Folders
from backend.engine.signature import encode
from backend.graph.schema import NodeType


def mark(t: NodeType, inputs: Mapping[str, Any], folders: Folders) -> bytes | None:
    """Sizes and times of change of the model files that the constants of a node of type `t` name; None where it names none that is here."""
    found: list[Any] = []
    for name, kind in t.files:
        value = inputs.get(name)
        if isinstance(value, str) and ALIASES.get(kind, kind) in folders.kinds:
            try:
                path = folders.find(kind, value)
                about = path.stat() if path is not None else None
            except OSError:  # it has just gone; the node says so
                continue
            found += [name, about.st_size, about.st_mtime_ns] if about is not None else []
    return encode(found) if found else None

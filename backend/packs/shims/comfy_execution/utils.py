"""The node whose code runs now."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NamedTuple

from backend.packs.host import HOST


class ExecutionContext(NamedTuple):
    prompt_id: str
    node_id: str
    list_index: int | None


def get_executing_context() -> ExecutionContext | None:
    ctx = HOST.context()
    return ExecutionContext(ctx.job, ctx.node, ctx.index) if ctx.node else None


@contextmanager
def CurrentNodeContext(prompt_id: str, node_id: str, list_index: int | None = None) -> Any:
    """Contexts are set by the engine; entering another one changes nothing."""
    yield

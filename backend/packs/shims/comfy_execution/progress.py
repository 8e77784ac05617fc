"""Progress of the running node."""

from __future__ import annotations

from enum import Enum
from typing import Any

from backend.packs.host import HOST


class NodeState(Enum):
    Pending = "pending"
    Running = "running"
    Finished = "finished"
    Error = "error"


class ProgressRegistry:
    """Reports go straight to whoever watches."""

    def __init__(self) -> None:
        self.nodes: dict[str, Any] = {}
        self.handlers: dict[str, Any] = {}

    @property
    def prompt_id(self) -> str:
        return HOST.context().job

    def update_progress(self, node_id: str, value: float, max_value: float, image: Any = None) -> None:
        HOST.context().progress(value, max_value)

    def start_progress(self, node_id: str) -> None:
        return None

    def finish_progress(self, node_id: str) -> None:
        return None

    def register_handler(self, handler: Any) -> None:
        self.handlers[getattr(handler, "name", repr(handler))] = handler


_REGISTRY = ProgressRegistry()


def get_progress_state() -> ProgressRegistry:
    return _REGISTRY

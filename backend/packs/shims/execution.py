"""`execution`: what packs look at of the engine. Packs that patch these classes change nothing here, and are told nothing wrong."""

from __future__ import annotations

import copy
from typing import Any

from comfy_execution.graph import ExecutionBlocker
from comfy_execution.graph_utils import is_link

from backend.packs.host import HOST

MAXIMUM_HISTORY_SIZE = 10000
__all__ = ["MAXIMUM_HISTORY_SIZE", "ExecutionBlocker", "PromptExecutor", "PromptQueue", "is_link", "validate_prompt"]


class ExecutionResult:
    SUCCESS, FAILURE, PENDING = 0, 1, 2


class PromptExecutor:
    """The engine lives elsewhere; this class is here to be named and subclassed."""

    def __init__(self, server: Any, cache_type: Any = False, cache_size: Any = None) -> None:
        self.server = server
        self.history_result: dict[str, Any] = {}
        self.status_messages: list[Any] = []
        self.success = True

    def reset(self) -> None:
        self.success = True

    def add_message(self, event: str, data: dict[str, Any], broadcast: bool) -> None:
        HOST.send(event, data, None if broadcast else HOST.client)

    def handle_execution_error(self, prompt_id: str, prompt: Any, current_outputs: Any, executed: Any, error: Any, ex: Any) -> None:
        self.success = False


class PromptQueue:
    """The queue as seen from the process that computes: the running job, and nothing pending."""

    def __init__(self, server: Any = None) -> None:
        self.server = server
        self.flags: dict[str, Any] = {}
        self.currently_running: dict[str, Any] = {}
        self.queue: list[Any] = []
        self.history: dict[str, Any] = {}

    def get_current_queue(self) -> tuple[list[Any], list[Any]]:
        ctx = HOST.context()
        running = [(0, ctx.job, dict(ctx.prompt), dict(ctx.values), [])] if ctx.job else []
        return running, []

    get_current_queue_volatile = get_current_queue

    def get_tasks_remaining(self) -> int:
        return len(self.get_current_queue()[0])

    def get_history(self, prompt_id: str | None = None, max_items: int | None = None, offset: int = -1, **kwargs: Any) -> dict[str, Any]:
        return {} if prompt_id is not None and prompt_id not in self.history else copy.deepcopy(self.history)

    def set_flag(self, name: str, data: Any) -> None:
        self.flags[name] = data

    def get_flags(self, reset: bool = True) -> dict[str, Any]:
        flags = dict(self.flags)
        if reset:
            self.flags.clear()
        return flags

    def put(self, item: Any) -> None:
        raise NotImplementedError("Jobs are queued through POST /prompt.")

    def delete_queue_item(self, function: Any) -> bool:
        return False

    def delete_history_item(self, id_to_delete: str) -> None:
        self.history.pop(id_to_delete, None)

    def wipe_queue(self) -> None:
        return None

    def wipe_history(self) -> None:
        self.history.clear()


async def validate_prompt(prompt_id: str, prompt: Any, partial_execution_list: Any = None) -> tuple[Any, ...]:
    """(valid, error, ids of valid outputs, errors by node)."""
    from backend.graph.choices import FolderChoices
    from backend.graph.document import InvalidPrompt, Prompt
    from backend.graph.registry import Registry
    from backend.graph.validate import refused, validate

    try:
        parsed = Prompt.parse(prompt)
    except InvalidPrompt as problem:
        return False, refused(problem), [], {}
    checked = validate(parsed, Registry(HOST.types().values()), partial_execution_list, FolderChoices(HOST.services.folders))
    return checked.error is None, checked.error, list(checked.targets), checked.node_errors

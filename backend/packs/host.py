"""What foreign code reaches through module names: the worker's services, the running node, and a way to talk to browsers.

Packs find the application through imported modules, not through arguments, so one object per process must be there to be found.
The worker fills it in as it starts.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from backend.base.events import Event, PackEvent
from backend.engine.call import CURRENT
from backend.engine.context import Context, Services
from backend.graph.schema import NodeType

log = logging.getLogger(__name__)


class Host:
    """`services` are those of nodes; `types` the node types known now; `emit(job, event)` sends an event to the front."""

    def __init__(self) -> None:
        self.services: Any = Services()
        self.types: Callable[[], Mapping[str, NodeType]] = dict
        self.emit: Callable[[str, Event], None] = lambda job, event: None
        self.loading: str | None = None
        """The pack being imported now."""
        self.wanted: dict[str, set[str]] = {}
        """Names that were asked for and are not there, with the packs that asked."""
        self.prompt_handlers: list[Callable[[Any], Any]] = []
        self.client: str | None = None
        """The browser whose job runs now."""
        self.last_node: str | None = None
        self.last_prompt: str | None = None
        self.interrupted = threading.Event()
        """Set by packs that interrupt the run themselves."""

    def context(self) -> Context:
        """The context of the node whose code runs now; outside of a run one that reaches nothing but the services."""
        ctx = CURRENT.get()
        return ctx if ctx is not None else Context("", "", services=self.services)

    def on_prompt(self, body: Any) -> Any:
        """The body of POST /prompt after the packs' handlers; one that raises is passed over, as it always was."""
        for handler in self.prompt_handlers:
            before = copy.deepcopy(body)
            try:
                body = handler(body)
                if not isinstance(body, dict):
                    body = before
            except Exception:
                log.warning("A node pack's handler of new jobs failed.", exc_info=True)
                body = before
        return body

    def reset(self) -> None:
        """As a new process has it; for tests, which are many processes in one."""
        self.__init__()  # type: ignore[misc]

    def want(self, name: str) -> None:
        """Note that a name was asked for which this installation lacks."""
        self.wanted.setdefault(name, set()).add(self.loading or "")

    def send(self, type: str, data: Any, client: str | None = None) -> None:
        """A message to the packs' code in the browser; thread-safe."""
        ctx = CURRENT.get()
        event = PackEvent(type, data, client)
        if ctx is not None:
            ctx.emit(event)
        else:
            self.emit("", event)


HOST = Host()

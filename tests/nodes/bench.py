"""Running nodes without a server: a context with real folders, a real pool, and everything that happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from backend.base.config import Settings
from backend.base.events import Event, NodeLog, NodeText, Progress
from backend.base.paths import Folders
from backend.engine.context import Context, Services
from backend.memory.device import DeviceFacts
from backend.memory.pool import Pool

CPU = torch.device("cpu")


class Bench:
    """One installation below a directory."""

    def __init__(self, home: Path, settings: Settings | None = None) -> None:
        self.folders = Folders.of(home)
        self.folders.create()
        self.events: list[Event] = []
        self.cancelled: Callable[[], bool] = lambda: False
        self.services = Services(
            pool=Pool(CPU, 1 << 33), folders=self.folders, settings=settings or Settings(), device=DeviceFacts(CPU, "test", 1 << 34, ())
        )

    def context(self, prompt: dict[str, Any] | None = None, extra: dict[str, Any] | None = None) -> Context:
        def cancelled() -> bool:
            return self.cancelled()  # looked up now: tests cancel in the middle

        return Context("job", "7", emit=self.events.append, cancelled=cancelled, services=self.services, prompt=prompt, extra=extra)

    def texts(self) -> list[str]:
        return [e.text for e in self.events if isinstance(e, NodeLog | NodeText)]

    def steps(self) -> list[Progress]:
        return [e for e in self.events if isinstance(e, Progress)]

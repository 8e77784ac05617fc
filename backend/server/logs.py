"""The last lines of the log, for the terminal and for sockets that asked."""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import sys
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

KEPT = 300
_TERMINAL_BACKLOG = 2000
_TELL_EVERY_S = 0.1


class LogRing:
    """`write` never waits: the terminal is written by a thread, and lines it cannot take in time are counted instead.

    `as_objects`: the terminal gets JSON objects, one a line.
    """

    def __init__(self, to_stdout: bool = False, as_objects: bool = False) -> None:
        self._as_objects = as_objects
        self.entries: deque[dict[str, str]] = deque(maxlen=KEPT)
        self.subscribers: set[str] = set()
        self.tell: Callable[[str, list[dict[str, str]]], None] = lambda sid, entries: None
        self._untold: list[dict[str, str]] = []
        self._due: asyncio.TimerHandle | None = None
        self._stream = sys.stdout if to_stdout else sys.stderr
        self._lines: queue.Queue[str | None] = queue.Queue(_TERMINAL_BACKLOG)
        self._lost = 0
        self._thread = threading.Thread(target=self._print, name="terminal", daemon=True)
        self._thread.start()

    def write(self, text: str) -> None:
        """Add a line. Call it on the event loop, or before it runs."""
        entry = {"t": datetime.now(UTC).isoformat(), "m": text + "\n"}
        self.entries.append(entry)
        try:
            self._lines.put_nowait(json.dumps({"at": entry["t"], "message": text}) if self._as_objects else text)
        except queue.Full:
            self._lost += 1
        if self.subscribers:
            self._untold.append(entry)
            if len(self._untold) > KEPT:
                del self._untold[0]
            if self._due is None:
                self._due = asyncio.get_running_loop().call_later(_TELL_EVERY_S, self._tell)

    def size(self) -> dict[str, int]:
        """The terminal's size."""
        columns, rows = shutil.get_terminal_size()
        return {"cols": columns, "rows": rows}

    def close(self) -> None:
        """Let the terminal catch up, briefly."""
        self._lines.put(None)
        self._thread.join(1.0)

    def _tell(self) -> None:
        entries, self._untold, self._due = self._untold, [], None
        for sid in self.subscribers:
            self.tell(sid, entries)

    def _print(self) -> None:
        while (line := self._lines.get()) is not None:
            lost, self._lost = self._lost, 0
            try:
                if lost:
                    self._stream.write(f"({lost} lines were not shown)\n")
                self._stream.write(line + "\n")
                if self._lines.empty():
                    self._stream.flush()
            except (OSError, ValueError):
                return  # nobody reads the terminal any more
        self._flush()

    def _flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            return

    def as_json(self) -> dict[str, Any]:
        """Every kept line with its time."""
        return {"entries": list(self.entries), "size": self.size()}

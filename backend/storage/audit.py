"""Who changed what: one JSON line per change or refusal, in a file that no request can reach or rewrite."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 20


class Audit:
    """`write` appends a line; above `MOST_BYTES` the file becomes `<name>.1` and a new one begins. A disk that refuses stops nobody."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def write(self, **what: Any) -> None:
        """Add a line with the time (UTC) and these fields."""
        line = json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), **what}) + "\n"
        with self._lock:
            try:
                if self.path.exists() and self.path.stat().st_size > MOST_BYTES:
                    os.replace(self.path, self.path.with_name(self.path.name + ".1"))
                descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)
            except OSError:
                return  # a full disk must not stop people from freeing it

    def last(self, count: int) -> list[dict[str, Any]]:
        """The newest lines, oldest of them first."""
        try:
            lines = self.path.read_text("utf-8").splitlines()[-count:]
        except OSError:
            return []
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except ValueError:  # cut short by a crash
                continue
        return found

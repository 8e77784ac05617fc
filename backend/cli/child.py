"""A server of one's own: started as a child process on a free port, stopped when the work is done."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from backend.base.config import parse
from backend.base.errors import Problem
from backend.cli.serve import PARENT
from clients.python.emulsion_client import Address, ClientError

MAIN = Path(__file__).resolve().parents[2] / "main.py"
_URL = re.compile(r"https?://[^\s/]+:\d+")
_GRACE = 10.0  # seconds a server has to drain before it is killed


class ServerProcess:
    """`main.py serve` on 127.0.0.1 and a port the system chose.

    `user` becomes its data directory: queue, history and settings of this server live there and nowhere else. What it prints is in `lines`.
    """

    def __init__(self, user: Path, flags: Sequence[str] = (), patience: float = 300.0) -> None:
        """Start and wait until it can run jobs. Raises Problem with its last words when it ends or is not ready in `patience` seconds."""
        own = ["--listen", "127.0.0.1", "--port", "0", "--disable-auto-launch"]
        own += ["--user-directory", str(user), "--temp-directory", str(user)]
        self.lines: deque[str] = deque(maxlen=2000)
        self.url = ""
        self._named = threading.Event()
        self.process = subprocess.Popen(
            [sys.executable, str(MAIN), "serve", *own, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONUNBUFFERED": "1", **({PARENT: str(os.getpid())} if os.name == "posix" else {})},
            start_new_session=os.name == "posix",  # Ctrl-C is for the command, which then cancels and stops the server in order
        )
        self._reader = threading.Thread(target=self._read, name="server-output", daemon=True)
        self._reader.start()
        try:
            if self._becomes_ready(parse([*own, *flags]).token or "", patience):
                return
        except BaseException:
            self.stop()
            raise
        self.stop()
        raise Problem("The server did not start.", hint="\n".join(["Its last words:", *list(self.lines)[-15:]]))

    def _becomes_ready(self, token: str, patience: float) -> bool:
        """Whether the worker says hello in time."""
        deadline = time.monotonic() + patience
        self._named.wait(patience)
        while self.url and self.process.poll() is None and time.monotonic() < deadline:
            try:
                Address(self.url, token).request("GET", "/health/ready")
            except ClientError:
                time.sleep(0.1)
            else:
                return True
        return False

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            found = _URL.search(line)
            if found and not self.url:
                self.url = found[0]
                self._named.set()
        self._named.set()

    def stop(self) -> int:
        """Ask it to end, kill it when it does not; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        status = self.process.wait()
        self._reader.join(_GRACE)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

"""A server with the test pack and directories of its own, and a plain client that keeps every frame."""

from __future__ import annotations

import json
import os
import shutil
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from backend.cli.child import ServerProcess

PACK = Path(__file__).with_name("testpack")
Json = dict[str, Any]
PATIENCE_S = 180.0  # with a server that others keep from the processor; only a failure waits so long


class Answer:
    """Status, headers and body of a reply."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        return json.loads(self.body)


def ask(url: str, data: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
    """GET, or POST where there is `data` (bytes as they are, anything else as JSON)."""
    body = data if data is None or isinstance(data, bytes) else json.dumps(data).encode()
    given = {"Content-Type": "application/json", **(headers or {})} if body is not None else dict(headers or {})
    request = urllib.request.Request(url, data=body, headers=given, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as reply:
            return Answer(reply.status, reply.headers, reply.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, error.headers, error.read())


class Socket:
    """A websocket client that decodes JSON frames and leaves binary ones as bytes."""

    def __init__(self, url: str, sid: str, *, query: str = "", flags: Json | None = None) -> None:
        self.sid = sid
        self.connection: ClientConnection = connect(f"{url.replace('http', 'ws', 1)}/ws?clientId={sid}{query}", max_size=None).__enter__()
        if flags is not None:
            self.connection.send(json.dumps({"type": "feature_flags", "data": flags}))

    def next(self, timeout: float = PATIENCE_S) -> Any:
        frame = self.connection.recv(timeout=timeout)
        return json.loads(frame) if isinstance(frame, str) else frame

    def until(self, wanted: Callable[[Any], bool], timeout: float = PATIENCE_S) -> list[Any]:
        """Every frame up to and with the first that is wanted."""
        frames = []
        while True:
            frames.append(self.next(timeout))
            if wanted(frames[-1]):
                return frames

    def run(self, id: str, timeout: float = PATIENCE_S) -> list[Any]:
        """Every frame up to the end of a run."""
        return self.until(lambda f: is_end(f, id), timeout)

    def close(self) -> None:
        self.connection.close()


def is_end(frame: Any, id: str) -> bool:
    return not isinstance(frame, bytes) and frame["type"] == "executing" and frame["data"] == {"node": None, "prompt_id": id}


class Server:
    """A running server below `home`; may be stopped, killed and started again on the same directories."""

    def __init__(self, home: Path, *flags: str) -> None:
        self.home, self.flags = home, flags
        (home / "custom_nodes").mkdir(parents=True, exist_ok=True)
        if not (home / "custom_nodes" / "testpack").exists():
            shutil.copytree(PACK, home / "custom_nodes" / "testpack", ignore=shutil.ignore_patterns("__pycache__"))
        self.process: ServerProcess
        self.start()

    def start(self) -> None:
        self.process = ServerProcess(self.home / "user", ["--base-directory", str(self.home), "--cpu", *self.flags])
        self.url = self.process.url

    def kill(self) -> None:
        """kill -9 of the front."""
        self.process.process.kill()
        self.process.process.wait(10)
        self.process.stop()

    def ask(self, path: str, data: Any = None, **options: Any) -> Answer:
        return ask(self.url + path, data, **options)

    def socket(self, sid: str | None = None, **options: Any) -> Socket:
        return Socket(self.url, sid or uuid.uuid4().hex, **options)

    def submit(self, prompt: Json, sid: str | None = None, **more: Any) -> str:
        body = {"prompt": prompt, **({"client_id": sid} if sid else {}), **more}
        answer = self.ask("/prompt", body)
        assert answer.status == 200, answer.body
        id: str = answer.json()["prompt_id"]
        return id

    def history(self, id: str) -> Json:
        found: Json = self.ask(f"/history/{id}").json()
        return found.get(id, {})

    def worker_pid(self) -> int:
        """The only child of the front."""
        front = self.process.process.pid
        (child,) = Path(f"/proc/{front}/task/{front}/children").read_text().split()
        return int(child)


@contextmanager
def running(home: Path, *flags: str) -> Iterator[Server]:
    server = Server(home, *flags)
    try:
        yield server
    finally:
        server.process.stop()


def node(type: str, **inputs: Any) -> Json:
    return {"class_type": type, "inputs": inputs}


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False

"""A client for an Emulsion server in one file: copy it into your project; it needs Python 3.11 and `websockets`.

    client = Client("http://127.0.0.1:8188")
    job = client.submit(graph)                   # a graph in API format
    for event in job.events():                   # progress, previews, outputs, until the job ends
        print(event.type, event.data)
    for image in job.images():
        image.save("pictures")

`AsyncClient` offers the same with `await` and `async for`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import mimetypes
import struct
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from websockets.asyncio.client import ClientConnection as AsyncSocket
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import ClientConnection as SyncSocket
from websockets.sync.client import connect as connect_sync

Json = dict[str, Any]
HELLO = json.dumps({"type": "feature_flags", "data": {"supports_preview_metadata": True, "event_cursor": True}})
LARGEST_FRAME = 256 * 2**20
PATIENCE = 120.0  # seconds for one request; a server whose worker is starting answers late
RECONNECT = 5  # attempts after a lost socket, 0.3 s apart at first and doubling
POLL = 2.0  # seconds without an event after which the history is asked, in case the end was missed
FAR_BEHIND = 64  # unread events after which further previews are dropped


class ClientError(Exception):
    """What goes wrong with a server; every error of this file is one."""


class Unreachable(ClientError):
    """Nobody answers at the address."""


class Refused(ClientError):
    """The server answered with an error status.

    `error` is {"type", "message", "details", "extra_info"} where it sent one; `node_errors` maps node ids to their errors.
    """

    def __init__(self, status: int, body: object) -> None:
        found = body if isinstance(body, dict) else {}
        self.status = status
        error = found.get("error")
        self.error: Json = error if isinstance(error, dict) else {"message": str(error or body or "no reason given")}
        self.node_errors: Json = found.get("node_errors") or {}
        super().__init__("\n".join([str(self.error.get("message")), *self.sentences()]))

    def sentences(self) -> list[str]:
        """One line per error of a node, or the details when no node is to blame."""
        lines = [
            f"node {node} ({entry.get('class_type')}): {error.get('message')}: {error.get('details')}{_hint(error)}"
            for node, entry in self.node_errors.items()
            for error in entry.get("errors", [])
        ]
        return lines or [text for text in [str(self.error.get("details") or "")] if text]


def _hint(error: Json) -> str:
    hint = (error.get("extra_info") or {}).get("hint")
    return f". {hint}" if hint else ""


class JobFailed(ClientError):
    """A node failed. Holds node_id, node_type, exception_type, exception_message and traceback."""

    def __init__(self, data: Json) -> None:
        self.node_id = str(data.get("node_id", ""))
        self.node_type = str(data.get("node_type", ""))
        self.exception_type = str(data.get("exception_type", ""))
        self.exception_message = str(data.get("exception_message", "")).strip()
        self.traceback: list[str] = list(data.get("traceback") or [])
        place = f"node {self.node_id} ({self.node_type}): " if self.node_id else ""
        super().__init__(place + (self.exception_message or self.exception_type or "it failed without saying why"))


class JobCancelled(ClientError):
    """The job was interrupted or taken out of the queue."""


@dataclass(frozen=True)
class Event:
    """One thing that happened: the server's type and data; `image` is set for previews (encoded, see data["image_type"])."""

    type: str
    data: Json
    image: bytes = b""

    @property
    def job(self) -> str | None:
        """The prompt_id this belongs to, if any."""
        return self.data.get("prompt_id")

    @property
    def ends(self) -> bool:
        """Whether this is the last event of its job."""
        return self.type == "executing" and self.data.get("node") is None and self.job is not None


def read_frame(frame: str | bytes) -> tuple[Event | None, int | None]:
    """A websocket message as an event (None for kinds unknown here) and its number in the server's record, if it bears one."""
    if isinstance(frame, str):
        message = json.loads(frame)
        return Event(message["type"], message.get("data") or {}), message.get("seq")
    (kind,) = struct.unpack_from(">I", frame)
    if kind == 1:
        (form,) = struct.unpack_from(">I", frame, 4)
        return Event("preview", {"image_type": "image/png" if form == 2 else "image/jpeg"}, frame[8:]), None
    if kind == 4:
        (length,) = struct.unpack_from(">I", frame, 4)
        return Event("preview", json.loads(frame[8 : 8 + length]), frame[8 + length :]), None
    return None, None


@dataclass(frozen=True)
class Address:
    """Where a server lives, and requests to it. A path in the URL is kept, so a server behind a prefix works."""

    url: str
    token: str = ""

    def headers(self) -> dict[str, str]:
        """What a server that asks for a token wants to see."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def socket(self, client_id: str, since: int | None) -> str:
        parts = urlsplit(self.url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        query = urlencode({"clientId": client_id} | ({} if since is None else {"since": since}))
        return f"{scheme}://{parts.netloc}{parts.path.rstrip('/')}/ws?{query}"

    def request(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """One request on one connection, without proxies. Raises Unreachable or Refused."""
        parts = urlsplit(self.url)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        if not parts.hostname:
            raise Unreachable(f"{self.url!r} is not the address of a server; it looks like http://127.0.0.1:8188")
        connection = make(parts.hostname, parts.port, timeout=PATIENCE)
        try:
            headers = self.headers() | ({"Content-Type": kind} if body is not None else {})
            connection.request(method, parts.path.rstrip("/") + path, body, headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"No server answers at {self.url} ({error}). Is it running?") from error
        finally:
            connection.close()
        if response.status >= 400:
            raise Refused(response.status, _readable(data))
        return data

    def json(self, method: str, path: str, body: object = None) -> Any:
        """As `request`, with JSON both ways; an empty answer is None."""
        data = self.request(method, path, None if body is None else json.dumps(body).encode())
        return json.loads(data) if data else None


def _readable(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return {"error": data.decode(errors="replace")[:500]}


def _no_socket(url: str, error: Exception) -> ClientError:
    """Why there is no socket: the server refused it, or there is no server."""
    if isinstance(error, InvalidStatus) and error.response.status_code >= 400:
        return Refused(error.response.status_code, _readable(bytes(error.response.body or b"")))
    return Unreachable(f"No server answers at {url} ({error}). Is it running?")


@dataclass(frozen=True)
class Image:
    """A picture (or other file) that a job put out."""

    address: Address
    node: str
    filename: str
    subfolder: str
    type: str

    def data(self) -> bytes:
        """The file's bytes."""
        query = urlencode({"filename": self.filename, "subfolder": self.subfolder, "type": self.type})
        return self.address.request("GET", f"/view?{query}")

    def save(self, folder: str | Path) -> Path:
        """Write the file into a folder under its own name; returns where."""
        target = Path(folder) / Path(self.filename).name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.data())
        return target


def images_of(address: Address, entry: Json) -> list[Image]:
    """The files of a history entry that are results; previews in the temporary folder come last."""
    found = [
        Image(address, node, item["filename"], item.get("subfolder", ""), item.get("type", "output"))
        for node, outputs in entry.get("outputs", {}).items()
        for items in (outputs or {}).values()
        for item in (items if isinstance(items, list) else [])
        if isinstance(item, dict) and "filename" in item
    ]
    return sorted(found, key=lambda image: image.type == "temp")


def judge(entry: Json) -> Json:
    """A history entry, unless the job failed or was cancelled: then the matching error is raised."""
    messages = entry.get("status", {}).get("messages") or [["", {}]]
    kind, data = messages[-1]
    if kind == "execution_interrupted":
        raise JobCancelled("The job was cancelled.")
    if kind == "execution_error" or entry.get("status", {}).get("status_str") == "error":
        raise JobFailed(data)
    return entry


def order(graph: Mapping[str, Any], client_id: str, options: Mapping[str, Any]) -> Json:
    """The body of POST /prompt."""
    return {"prompt": graph, "client_id": client_id, "prompt_id": str(uuid.uuid4())} | {k: v for k, v in options.items() if v is not None}


def form(path: Path, fields: Mapping[str, str]) -> tuple[bytes, str]:
    """A multipart upload: its body and content type."""
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    name = path.name.replace("\\", "_").replace('"', "%22")
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\nContent-Type: {kind}\r\n\r\n'
    body = b"".join([*parts, head.encode(), path.read_bytes(), f"\r\n--{boundary}--\r\n".encode()])
    return body, f"multipart/form-data; boundary={boundary}"


class _Mail:
    """Events of one socket, sorted by job. Jobs nobody asked about are not kept."""

    def __init__(self) -> None:
        self.boxes: dict[str, deque[Event]] = {}
        self.seen: int | None = None

    def sort(self, frame: str | bytes) -> None:
        event, number = read_frame(frame)
        if number is not None:
            self.seen = number
        if event is None:
            return
        if event.type == "feature_flags" and self.seen is None:
            self.seen = event.data.get("event_cursor")
        preview = event.type == "preview"
        boxes = self.boxes.values() if event.job is None and preview else [self.boxes.get(event.job or "")]
        for box in boxes:
            if box is not None and not (preview and len(box) > FAR_BEHIND):
                box.append(event)


@dataclass
class _Server:
    """What both clients share: requests that return at once."""

    url: str = "http://127.0.0.1:8188"
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    token: str = ""

    def __post_init__(self) -> None:
        self.address = Address(self.url if "://" in self.url else f"http://{self.url}", self.token)
        self._mail = _Mail()

    def _submit(self, graph: Mapping[str, Any], options: Mapping[str, Any]) -> tuple[str, Json]:
        body = order(graph, self.client_id, options)
        self._mail.boxes[body["prompt_id"]] = deque()
        try:
            answer = self.address.json("POST", "/prompt", body)
        except ClientError:
            del self._mail.boxes[body["prompt_id"]]
            raise
        return body["prompt_id"], answer.get("node_errors") or {}

    def _entry(self, job: str) -> Json | None:
        found: Json = self.address.json("GET", f"/history/{quote(job, safe='')}")
        return found.get(job)

    def _waiting(self, job: str) -> bool:
        queue = self.address.json("GET", "/queue")
        return any(item[1] == job for item in [*queue["queue_running"], *queue["queue_pending"]])

    def _ended(self, job: str) -> bool:
        """Whether a job that sends no events is over. The history is asked last: a job moves there from the queue."""
        return not self._waiting(job) or self._entry(job) is not None

    def _result(self, job: str) -> Json:
        entry = self._entry(job)
        if entry is None:
            raise JobCancelled("The job was taken out of the queue before it ran.")
        return judge(entry)

    def _cancel(self, job: str) -> None:
        self.address.json("POST", "/queue", {"delete": [job]})
        self.address.json("POST", "/interrupt", {"prompt_id": job})

    def _upload(self, path: str | Path, folder: str, overwrite: bool) -> str:
        body, kind = form(Path(path), {"type": folder, "overwrite": "true" if overwrite else "false"})
        answer = json.loads(self.address.request("POST", "/upload/image", body, kind))
        return f"{answer['subfolder']}/{answer['name']}" if answer.get("subfolder") else str(answer["name"])


class Client(_Server):
    """A connection to a server. Use it in one thread; close it, or use it in a `with`."""

    _socket: SyncSocket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def submit(
        self, graph: Mapping[str, Any], *, extra_data: Json | None = None, front: bool | None = None, targets: list[str] | None = None
    ) -> Job:
        """Queue a graph. `targets`: only these output nodes; `front`: before all others. Raises Refused, Unreachable."""
        self._connected()
        job, node_errors = self._submit(graph, {"extra_data": extra_data, "front": front, "partial_execution_targets": targets})
        return Job(self, job, node_errors)

    def upload(self, path: str | Path, folder: str = "input", overwrite: bool = False) -> str:
        """Send a picture; returns the name that a LoadImage node takes."""
        return self._upload(path, folder, overwrite)

    def queue(self) -> Json:
        """{"queue_running": [...], "queue_pending": [...]}, each item [number, prompt_id, graph, extra_data, outputs]."""
        result: Json = self.address.json("GET", "/queue")
        return result

    def history(self, max_items: int = 20) -> Json:
        """The latest jobs by prompt_id, oldest first."""
        result: Json = self.address.json("GET", f"/history?max_items={max_items}")
        return result

    def object_info(self) -> Json:
        """Every node type the server can run."""
        result: Json = self.address.json("GET", "/object_info")
        return result

    def _connected(self) -> SyncSocket:
        if self._socket is None:
            try:
                target = self.address.socket(self.client_id, self._mail.seen)
                headers = self.address.headers()
                self._socket = connect_sync(target, additional_headers=headers, max_size=LARGEST_FRAME, proxy=None, open_timeout=PATIENCE)
                self._socket.send(HELLO)
            except (OSError, WebSocketException) as error:
                raise _no_socket(self.url, error) from error
        return self._socket

    def _receive(self, timeout: float) -> bool:
        """Take in one frame; False when none came in time. A lost socket is made again."""
        for attempt in range(RECONNECT + 1):
            try:
                self._mail.sort(self._connected().recv(timeout=timeout))
                return True
            except TimeoutError:
                return False
            except (ConnectionClosed, Unreachable):
                self._socket = None
                if attempt == RECONNECT:
                    raise Unreachable(f"The connection to {self.url} was lost and could not be made again.") from None
                time.sleep(0.3 * 2**attempt)
        return False


@dataclass(frozen=True)
class Job:
    """A graph in the queue of a server. `node_errors`: outputs the server left out because they do not validate."""

    client: Client
    id: str
    node_errors: Json

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """What happens in this job, until it ends. Raises TimeoutError, Unreachable; a failure is an event, not an error."""
        box = self.client._mail.boxes.get(self.id)
        limit = None if timeout is None else time.monotonic() + timeout
        while box is not None:
            while box:
                event = box.popleft()
                yield event
                if event.ends:
                    self.client._mail.boxes.pop(self.id, None)
                    return
            patience = POLL if limit is None else min(POLL, limit - time.monotonic())
            if patience <= 0:
                raise TimeoutError(f"Job {self.id} did not end in {timeout} seconds.")
            if not self.client._receive(patience) and self.client._ended(self.id) and not box:
                self.client._mail.boxes.pop(self.id, None)
                return

    def wait(self, timeout: float | None = None) -> Json:
        """The history entry once the job is done. Raises JobFailed, JobCancelled, TimeoutError."""
        for _ in self.events(timeout):
            pass
        return self.client._result(self.id)

    def images(self, timeout: float | None = None) -> list[Image]:
        """Wait, then the pictures."""
        return images_of(self.client.address, self.wait(timeout))

    def cancel(self) -> None:
        """Take it out of the queue, or interrupt it when it runs."""
        self.client._cancel(self.id)


class AsyncClient(_Server):
    """As Client, for asyncio: `async with AsyncClient() as client: job = await client.submit(graph)`."""

    _socket: AsyncSocket | None = None
    _turn: asyncio.Lock | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
            self._socket = None

    async def submit(
        self, graph: Mapping[str, Any], *, extra_data: Json | None = None, front: bool | None = None, targets: list[str] | None = None
    ) -> AsyncJob:
        """As Client.submit."""
        await self._connected()
        options = {"extra_data": extra_data, "front": front, "partial_execution_targets": targets}
        job, node_errors = await asyncio.to_thread(self._submit, graph, options)
        return AsyncJob(self, job, node_errors)

    async def upload(self, path: str | Path, folder: str = "input", overwrite: bool = False) -> str:
        """As Client.upload."""
        return await asyncio.to_thread(self._upload, path, folder, overwrite)

    async def queue(self) -> Json:
        """As Client.queue."""
        result: Json = await asyncio.to_thread(self.address.json, "GET", "/queue")
        return result

    async def history(self, max_items: int = 20) -> Json:
        """As Client.history."""
        result: Json = await asyncio.to_thread(self.address.json, "GET", f"/history?max_items={max_items}")
        return result

    async def object_info(self) -> Json:
        """As Client.object_info."""
        result: Json = await asyncio.to_thread(self.address.json, "GET", "/object_info")
        return result

    async def _connected(self) -> AsyncSocket:
        if self._socket is None:
            try:
                target = self.address.socket(self.client_id, self._mail.seen)
                headers = self.address.headers()
                connecting = connect_async(target, additional_headers=headers, max_size=LARGEST_FRAME, proxy=None, open_timeout=PATIENCE)
                self._socket = await connecting
                await self._socket.send(HELLO)
            except (OSError, WebSocketException) as error:
                raise _no_socket(self.url, error) from error
        return self._socket

    async def _receive(self, box: deque[Event], timeout: float) -> bool:
        """Take in one frame unless another job's reader filled the box meanwhile; False when none came in time."""
        self._turn = self._turn or asyncio.Lock()
        for attempt in range(RECONNECT + 1):
            try:
                async with asyncio.timeout(timeout), self._turn:
                    if not box:
                        self._mail.sort(await (await self._connected()).recv())
                return True
            except TimeoutError:
                return False
            except (ConnectionClosed, Unreachable):
                self._socket = None
                if attempt == RECONNECT:
                    raise Unreachable(f"The connection to {self.url} was lost and could not be made again.") from None
                await asyncio.sleep(0.3 * 2**attempt)
        return False


@dataclass(frozen=True)
class AsyncJob:
    """As Job, for asyncio."""

    client: AsyncClient
    id: str
    node_errors: Json

    async def events(self) -> AsyncIterator[Event]:
        """As Job.events; use asyncio.timeout around it for a limit."""
        box = self.client._mail.boxes.get(self.id)
        while box is not None:
            while box:
                event = box.popleft()
                yield event
                if event.ends:
                    self.client._mail.boxes.pop(self.id, None)
                    return
            if not await self.client._receive(box, POLL) and await asyncio.to_thread(self.client._ended, self.id) and not box:
                self.client._mail.boxes.pop(self.id, None)
                return

    async def wait(self) -> Json:
        """As Job.wait."""
        async for _ in self.events():
            pass
        return await asyncio.to_thread(self.client._result, self.id)

    async def images(self) -> list[Image]:
        """As Job.images."""
        return images_of(self.client.address, await self.wait())

    async def cancel(self) -> None:
        """As Job.cancel."""
        await asyncio.to_thread(self.client._cancel, self.id)

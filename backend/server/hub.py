"""Sockets by client id: who gets which frame, in order, without ever waiting for a slow one."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections import deque
from collections.abc import Callable, Iterable

from aiohttp import WSMsgType, web

from backend.server import wire
from backend.server.wire import Message, Picture

MOST_QUEUED = 32 << 20
MOST_QUEUED_FOR_PICTURES = 4 << 20
STATUS_EVERY_S = 0.1
_MOST_TOGETHER = 256 << 10
_SLOW_S = 0.02
_HEAD_16, _HEAD_64 = struct.Struct(">BBH"), struct.Struct(">BBQ")


class Client:
    """One open socket with its own bounded line of frames."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport | None, sid: str) -> None:
        self.socket = socket
        self._transport = transport
        self.sid = sid
        self.metadata_previews = False
        self.numbered = False
        self.watching = False
        self.told_remaining: int | None = None
        self.held: list[tuple[bytes, WSMsgType]] | None = None
        self._line: deque[tuple[bytes, WSMsgType]] = deque()
        self._queued = 0
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._write(), name=f"socket-{sid[:8]}")

    @property
    def queued(self) -> int:
        """Bytes that wait to be written."""
        return self._queued

    def put(self, data: bytes, kind: WSMsgType = WSMsgType.TEXT) -> None:
        """Queue a frame. A client that has let too much gather is cut off."""
        if self.held is not None:
            self.held.append((data, kind))
            return
        self._queued += len(data)
        if self._queued > MOST_QUEUED:
            self.drop()
            return
        self._line.append((data, kind))
        self._wake.set()

    def release(self) -> None:
        """Send what was held back while older events were told again."""
        held, self.held = self.held or [], None
        for data, kind in held:
            self.put(data, kind)

    def drop(self) -> None:
        """Cut the connection without a word; the client may come back with a cursor."""
        self._line.clear()
        self._task.cancel()
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Stop writing."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def _write(self) -> None:
        """Write whatever has gathered in one go: a call to the system per frame would cost more than all the rest."""
        line, transport = self._line, self._transport
        while transport is not None:
            await self._wake.wait()
            self._wake.clear()
            while line and not transport.is_closing():
                batch, size = [], 0
                while line and size < _MOST_TOGETHER:
                    data, kind = line.popleft()
                    size += len(data)
                    batch.append(frame_head(len(data), kind))
                    batch.append(data)
                transport.write(b"".join(batch))
                while transport.get_write_buffer_size() > _MOST_TOGETHER:
                    await asyncio.sleep(_SLOW_S)
                self._queued -= size


def frame_head(length: int, kind: WSMsgType) -> bytes:
    """The head of an unmasked final frame (RFC 6455, section 5.2)."""
    first = 0x80 | kind
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return _HEAD_16.pack(first, 126, length)
    return _HEAD_64.pack(first, 127, length)


class Hub:
    """All sockets. `remaining` gives the number of jobs that wait or run."""

    def __init__(self, remaining: Callable[[], int]) -> None:
        self._remaining = remaining
        self._by_sid: dict[str, list[Client]] = {}
        self._watching: list[Client] = []
        self._status_due: asyncio.TimerHandle | None = None
        self._status_last = -1.0
        self.on_audience: Callable[[bool], None] = lambda someone: None

    def __len__(self) -> int:
        return sum(len(same) for same in self._by_sid.values())

    def add(self, client: Client) -> None:
        """From now on this socket gets the frames of its client id; an older one with the same id gets nothing while this lives."""
        first = not self._by_sid
        self._by_sid.setdefault(client.sid, []).append(client)
        if client.watching:
            self._watching.append(client)
        if first:
            self.on_audience(True)

    def remove(self, client: Client) -> None:
        """Forget a socket; others with the same id stay."""
        same = self._by_sid.get(client.sid, [])
        if client in same:
            same.remove(client)
        if client in self._watching:
            self._watching.remove(client)
        if not same:
            self._by_sid.pop(client.sid, None)
        if not self._by_sid:
            self.on_audience(False)

    def find(self, sid: str | None) -> Client | None:
        """The newest socket of a client id."""
        same = self._by_sid.get(sid) if sid is not None else None
        return same[-1] if same else None

    def everyone(self) -> Iterable[Client]:
        """The newest socket of each client id."""
        return [same[-1] for same in self._by_sid.values()]

    def audience(self, sid: str | None, to: str) -> Iterable[Client]:
        """Who gets a frame of a job whose client is `sid`: besides that client those who watch every run."""
        if sid is not None and sid.endswith("\0"):  # a user's job without a client: that user's sockets alone
            return [same[-1] for name, same in self._by_sid.items() if name.startswith(sid)] if to == wire.CLIENT_OR_EVERYONE else ()
        if to == wire.EVERYONE or (to == wire.CLIENT_OR_EVERYONE and sid is None):
            return self.everyone()
        client = self.find(sid)
        if not self._watching or to == wire.CLIENT_ALONE:
            return () if client is None else (client,)
        return [*self._watching] if client is None or client.watching else [client, *self._watching]

    def send(self, sid: str | None, message: Message, seq: int | None = None) -> None:
        """Queue a JSON frame for its audience."""
        plain: bytes | None = None
        for client in self.audience(sid, message.to):
            if client.numbered:
                client.put(message.frame(seq))
            else:
                plain = plain or message.frame()
                client.put(plain)

    def send_text(self, sid: str | None, data: bytes) -> None:
        """Queue a binary text frame; without a client id everyone gets it."""
        for client in self.audience(sid, wire.CLIENT_OR_EVERYONE):
            client.put(data, WSMsgType.BINARY)

    def send_picture(self, sid: str | None, picture: Picture, progress: Message, seq: int) -> None:
        """Queue a picture with its progress frame: the form with metadata stands before it, the old form after it."""
        plain: bytes | None = None
        full: bytes | None = None
        for client in self.audience(sid, wire.CLIENT_OR_EVERYONE):
            frame = progress.frame(seq) if client.numbered else progress.frame()
            if client.queued > MOST_QUEUED_FOR_PICTURES and picture.format != "png":
                client.put(frame)
            elif client.metadata_previews:
                full = full or picture.with_metadata()
                client.put(full, WSMsgType.BINARY)
                client.put(frame)
            else:
                plain = plain or picture.plain()
                client.put(frame)
                client.put(plain, WSMsgType.BINARY)

    def status(self, owner: str | None) -> None:
        """The queue has changed. The job's own client hears it at once and in order, the others at most every tenth of a second."""
        client = self.find(owner)
        if client is not None:
            client.told_remaining = self._remaining()
            client.put(wire.status(client.told_remaining).frame())
        if len(self._by_sid) <= (client is not None) or self._status_due is not None:
            return
        loop = asyncio.get_running_loop()
        wait = self._status_last + STATUS_EVERY_S - loop.time()
        if wait <= 0:
            self._tell_others()
        else:
            self._status_due = loop.call_later(wait, self._tell_others)

    def _tell_others(self) -> None:
        """Tell those who do not know it yet."""
        self._status_due = None
        self._status_last = asyncio.get_running_loop().time()
        remaining = self._remaining()
        frame = wire.status(remaining).frame()
        for client in self.everyone():
            if client.told_remaining != remaining:
                client.told_remaining = remaining
                client.put(frame)

    async def close(self) -> None:
        """Say goodbye to every socket."""
        if self._status_due is not None:
            self._status_due.cancel()
        for client in [c for same in self._by_sid.values() for c in same]:
            with contextlib.suppress(ConnectionError, TimeoutError):
                await asyncio.wait_for(client.socket.close(code=1001, message=b"server stops"), 1.0)

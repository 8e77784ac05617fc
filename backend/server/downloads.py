"""Model files from the network: named hosts only, no private address, checked against a hash, resumed, and visible only when whole.

What is fetched lies beside its place as `.<name>.part`, with a note of where it came from. The connection is made to the very addresses
that were looked at, so a name that resolves differently a moment later leads nowhere else; every redirect is looked at the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from backend.base.errors import BadFile, BadInput, MissingFile, Problem, Refused
from backend.base.paths import Folders, contain, portable
from backend.storage.files import NoSpace, explain
from backend.storage.userdata import AlreadyThere

_PIECE = 1 << 20
_MOST_REDIRECTS = 5
_MOST_KNOWN = 200
_SPARE = 64 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, not of this machine, its network or a cloud's inside."""
    try:
        parsed = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None) or getattr(parsed, "sixtofour", None)
    return parsed.is_global and not parsed.is_multicast and (mapped is None or is_public(str(mapped)))


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses; a name with any other address is refused."""

    def __init__(self, allowed: Callable[[str], bool] = is_public) -> None:
        self._resolver = ThreadedResolver()
        self._allowed = allowed

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        for one in found:
            if not self._allowed(one["host"]):
                raise OSError(f"{host} is at {one['host']}, which is no public address")
        return found

    async def close(self) -> None:
        await self._resolver.close()


@dataclass
class Download:
    """One download. `state` is waiting, running, done, failed or cancelled; bytes; `total` is None while unknown."""

    id: str
    url: str
    kind: str
    name: str
    sha256: str | None
    target: Path
    state: str = "waiting"
    received: int = 0
    total: int | None = None
    error: str = ""
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def json(self) -> dict[str, Any]:
        """As the route tells it."""
        names = ("id", "url", "kind", "name", "sha256", "state", "received", "total", "error")
        return {name: getattr(self, name) for name in names}


class Downloads:
    """One at a time, in the order asked for. Lives on the event loop; disk work is done in threads."""

    def __init__(
        self,
        folders: Folders,
        hosts: tuple[str, ...],
        say: Callable[[str], None],
        *,
        schemes: tuple[str, ...] = ("https",),
        allowed: Callable[[str], bool] = is_public,
        tries: int = 4,
        pause_s: float = 2.0,
    ) -> None:
        self._folders, self._hosts, self._say = folders, hosts, say
        self._schemes, self._allowed, self._tries, self._pause = schemes, allowed, tries, pause_s
        self._turn = asyncio.Lock()
        self.known: dict[str, Download] = {}

    def start(self, url: str, kind: str, name: str, sha256: str | None = None) -> Download:
        """Begin a download. Raises BadInput, Refused (host, address), AlreadyThere."""
        self._known_host(url)
        if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
            raise BadInput("'sha256' must be 64 hexadecimal digits.", hint="Copy it from the page of the model.", input="sha256")
        target = self._place(kind, name)
        if target.exists():
            raise AlreadyThere(f"There is a {kind} file named {name!r:.200} already.", hint="Choose another name.")
        if any(d.target == target and d.state in ("waiting", "running") for d in self.known.values()):
            raise AlreadyThere(f"{name!r:.200} is being fetched already.", hint="See GET /downloads.")
        made = Download(uuid.uuid4().hex, url, kind, name, sha256 and sha256.lower(), target)
        self.known[made.id] = made
        while len(self.known) > _MOST_KNOWN:
            del self.known[next(id for id, d in self.known.items() if d.state not in ("waiting", "running"))]
        made.task = asyncio.create_task(self._run(made), name=f"download-{made.id[:8]}")
        return made

    async def read(self, url: str, most: int) -> bytes:
        """A small file, into memory. Raises BadInput, Refused (host, address), BadFile (too large, or not there)."""
        self._known_host(url)
        connector = aiohttp.TCPConnector(resolver=PublicResolver(self._allowed), use_dns_cache=False)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60)) as session,
                await self._ask(session, url, {}) as reply,
            ):
                if reply.status != 200:
                    raise BadFile(f"{urlsplit(url).hostname} answered {reply.status}.", hint="Check the address in a browser.")
                data = bytearray()
                async for piece in reply.content.iter_chunked(_PIECE):
                    data += piece
                    if len(data) > most:
                        raise BadFile(f"There is more than {most >> 20} MB behind this address.", hint="Download the file and open that.")
                return bytes(data)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise BadFile(f"{urlsplit(url).hostname} could not be reached: {error or type(error).__name__}.", hint="Try again.") from error

    def _known_host(self, url: str) -> None:
        """Raises BadInput, Refused for addresses that may not be asked."""
        host = (self._look(url).hostname or "").lower()
        if not any(host == known or host.endswith("." + known) for known in self._hosts):
            hint = f"Allowed are {', '.join(self._hosts) or 'none'}; add others with --download-hosts."
            raise Refused(f"Files are not fetched from {host!r:.100}.", hint=hint)

    def cancel(self, id: str) -> Download:
        """Stop a download; what has arrived stays for the next try. Raises MissingFile."""
        found = self.known.get(id)
        if found is None:
            raise MissingFile(f"There is no download {id!r:.60}.", hint="See GET /downloads.")
        if found.task is not None and not found.task.done():
            found.state = "cancelled"
            found.task.cancel()
        return found

    async def close(self) -> None:
        """Stop all; they can be resumed."""
        tasks = [d.task for d in self.known.values() if d.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _look(self, url: str) -> Any:
        """The parts of an address that may be asked. Raises BadInput, Refused."""
        try:
            parts = urlsplit(url)
            _ = parts.port
        except ValueError as error:
            raise BadInput(f"{url!r:.200} is no address: {error}.", hint="Send an https address.", input="url") from error
        if parts.scheme not in self._schemes or not parts.hostname or parts.username is not None:
            raise Refused(f"Files are fetched by {' or '.join(self._schemes)} only, not from {url!r:.200}.", hint="Send an https address.")
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(parts.hostname)
            if not self._allowed(parts.hostname):
                raise Refused(f"{parts.hostname} is no public address.", hint="Files of this network can be copied into models/ directly.")
        return parts

    def _place(self, kind: str, name: str) -> Path:
        entry = self._folders.kind(kind)
        for piece in name.split("/"):
            portable(piece)
        if not name or name.startswith(".") or (entry.extensions and os.path.splitext(name)[1].lower() not in entry.extensions):
            wanted = ", ".join(sorted(entry.extensions))
            raise BadInput(f"{name!r:.200} is no name for a {kind} file.", hint=f"It must end in one of: {wanted}.", input="name")
        return contain(entry.paths[0], name)

    async def _run(self, d: Download) -> None:
        try:
            async with self._turn:
                d.state = "running"
                self._say(f"Fetching {d.name} from {urlsplit(d.url).hostname}.")
                await self._with_tries(d)
            d.state = "done"
            self._say(f"{d.name} is here: {d.received:,} bytes, sha256 {d.sha256}.")
        except asyncio.CancelledError:
            d.state = "cancelled"
            raise
        except (Problem, aiohttp.ClientError, TimeoutError, OSError) as error:
            d.state, d.error = "failed", str(error) or type(error).__name__
            self._say(f"{d.name} could not be fetched: {d.error}")

    async def _with_tries(self, d: Download) -> None:
        connector = aiohttp.TCPConnector(resolver=PublicResolver(self._allowed), use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT, auto_decompress=False) as session:
            for left in reversed(range(self._tries)):
                try:
                    await self._fetch(session, d)
                    return
                except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, TimeoutError, ConnectionError) as error:
                    if not left:
                        raise
                    self._say(f"{d.name}: the connection broke ({error}); going on from {d.received:,} bytes.")
                    await asyncio.sleep(self._pause)

    async def _fetch(self, session: aiohttp.ClientSession, d: Download) -> None:
        part = d.target.with_name(f".{d.target.name}.part")
        note = part.with_name(part.name + ".json")
        have, tag = await asyncio.to_thread(_resumable, part, note, d.url)
        headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-", "If-Range": tag} if have else {})}
        async with await self._ask(session, d.url, headers) as reply:
            if reply.status not in (200, 206):
                raise BadFile(f"The server answered {reply.status} {reply.reason or ''}.".replace(" .", "."), hint="Check the address.")
            if reply.status == 200:
                have = 0
            length = reply.content_length
            d.received, d.total = have, None if length is None else have + length
            await asyncio.to_thread(_room, d.target, length or 0)
            tag = reply.headers.get("ETag", "")
            await asyncio.to_thread(_write_note, note, d.url, "" if tag.startswith("W/") else tag)
            digest = await self._receive(reply, d, part, have)
        if d.total is not None and d.received != d.total:
            raise aiohttp.ClientPayloadError(f"{d.received:,} of {d.total:,} bytes arrived")
        if d.sha256 is not None and digest != d.sha256:
            await asyncio.to_thread(_remove, part, note)
            raise BadFile(f"{d.name} is not the file that was asked for: its sha256 is {digest}, not {d.sha256}.", hint="Check both.")
        d.sha256 = digest
        await asyncio.to_thread(_finish, part, note, d.target)

    async def _ask(self, session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> aiohttp.ClientResponse:
        """The answer behind redirects. Raises Refused when one leads where none may."""
        for _ in range(_MOST_REDIRECTS + 1):
            self._look(url)
            reply = await session.get(url, headers=headers, allow_redirects=False)
            where = reply.headers.get("Location")
            if reply.status not in _REDIRECTS or where is None:
                return reply
            reply.release()
            url = urljoin(url, where)
        raise BadFile("The address redirects without end.", hint="Check it in a browser.")

    async def _receive(self, reply: aiohttp.ClientResponse, d: Download, part: Path, have: int) -> str:
        """Write the body behind what is there already; the SHA-256 of all of it."""
        digest = hashlib.sha256()
        file = await asyncio.to_thread(_open, part, have, digest)
        try:
            async for piece in reply.content.iter_chunked(_PIECE):
                await asyncio.to_thread(_append, file, piece, digest, d.target)
                d.received += len(piece)
            await asyncio.to_thread(os.fsync, file.fileno())
        finally:
            file.close()
        return digest.hexdigest()


def _resumable(part: Path, note: Path, url: str) -> tuple[int, str]:
    """How much of the file is here, and its entity tag; nothing when it came from elsewhere or cannot be told apart from a newer one."""
    try:
        known = json.loads(note.read_text("utf-8"))
        if known["url"] == url and known["tag"]:
            return part.stat().st_size, str(known["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # there is none, or it is damaged: begin anew
    return 0, ""


def _write_note(note: Path, url: str, tag: str) -> None:
    note.write_text(json.dumps({"url": url, "tag": tag}), "utf-8")


def _room(target: Path, length: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target.parent).free
    if length + _SPARE > free:
        message = f"{target.name} needs {length / 1e9:,.1f} GB, and {target.parent} has {free / 1e9:,.1f} GB left."
        raise NoSpace(message, hint="Free some space, then ask again: what has arrived is kept.")


def _open(part: Path, have: int, digest: Any) -> BinaryIO:
    file = open(part, "r+b" if have else "wb")  # noqa: SIM115  closed by the caller
    while piece := file.read(_PIECE) if have else b"":
        digest.update(piece)
    return file


def _append(file: BinaryIO, piece: bytes, digest: Any, target: Path) -> None:
    try:
        file.write(piece)
        file.flush()
    except OSError as error:
        raise explain(error, target) from error
    digest.update(piece)


def _finish(part: Path, note: Path, target: Path) -> None:
    os.replace(part, target)
    note.unlink(missing_ok=True)


def _remove(part: Path, note: Path) -> None:
    part.unlink(missing_ok=True)
    note.unlink(missing_ok=True)

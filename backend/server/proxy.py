"""Requests for routes that node packs have declared go to the process that loaded the packs, and their answers come back as they are."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.typedefs import Handler
from yarl import URL

from backend.server.replies import error_body, json_reply
from backend.server.state import STATE, State

SECRET_HEADER = "X-Emulsion-Front"
_HOP = frozenset(
    {"connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailers", "transfer-encoding", "upgrade", "host",
     "content-encoding", "content-length", "authorization", "cookie", SECRET_HEADER.lower()}
)  # fmt: skip
"""Headers of one connection, and those whose secrets are not for packs."""
_CHUNK = 1 << 16


class PackRoutes:
    """Follows the worker: the routes of its last hello."""

    def __init__(self) -> None:
        self._of: Any = None
        self._patterns: list[tuple[str, re.Pattern[str]]] = []

    def wants(self, state: State, method: str, path: str) -> bool:
        """Whether a pack has declared this."""
        told = state.hello.get("pack_routes")
        if not told:
            return False
        if told is not self._of:
            self._of = told
            self._patterns = [(m, re.compile(p)) for m, p in told["routes"]]
        method = "GET" if method == "HEAD" else method
        return any(m in (method, "*") and p.fullmatch(path) for m, p in self._patterns)

    async def pass_on(self, request: web.Request, path: str) -> web.StreamResponse:
        """The worker's answer to this request, streamed both ways."""
        told = request.app[STATE].hello["pack_routes"]
        address = told["address"]
        base = address if address.startswith("http") else "http://packs"
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP}
        headers[SECRET_HEADER] = told["secret"]
        asked = request.rel_url.without_query_params("token").raw_query_string
        query = f"?{asked}" if asked else ""
        connector = None if address.startswith("http") else aiohttp.UnixConnector(address)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, timeout=timeout) as session:
            body = request.content if request.can_read_body else None
            try:
                url = URL(base + path + query, encoded=True)
                async with session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
                    reply = web.StreamResponse(status=answer.status, reason=answer.reason)
                    for name, value in answer.headers.items():
                        if name.lower() not in _HOP or name.lower() == "content-encoding":
                            reply.headers.add(name, value)
                    if answer.headers.get("Content-Length", "").isdigit():
                        reply.content_length = int(answer.headers["Content-Length"])
                    await reply.prepare(request)
                    async for chunk in answer.content.iter_chunked(_CHUNK):
                        await reply.write(chunk)
                    await reply.write_eof()
                    return reply
            except (aiohttp.ClientConnectorError, TimeoutError, OSError):
                message = "The process that answers for node packs is away at the moment."
                return json_reply(error_body("packs_away", message, "It restarts by itself; try again in a few seconds."), 503)


def middleware() -> Any:
    """Asks packs about what nobody here answers. Routes of the application itself cannot be taken over."""
    routes = PackRoutes()

    @web.middleware
    async def ask_packs(request: web.Request, handler: Handler) -> web.StreamResponse:
        state = request.app[STATE]
        if state.hello.get("pack_routes") and _is_open(request):
            for path in dict.fromkeys((request.rel_url.raw_path, request.rel_url.raw_path.removeprefix("/api"))):
                if path and routes.wants(state, request.method, path):
                    return await routes.pass_on(request, path)
        return await handler(request)

    return ask_packs


def _is_open(request: web.Request) -> bool:
    """Whether no route of ours but the one for files of the page matches."""
    if request.match_info.http_exception is not None:
        return True
    resource = request.match_info.route.resource
    return resource is not None and resource.canonical == "/{file}"

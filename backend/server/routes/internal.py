"""/internal/*: log, folders, files; the audit log. Registered once, not under /api. (Contract 1.2.)"""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiohttp import web

from backend.base.errors import BadInput
from backend.server.replies import int_query, json_reply, read_object
from backend.server.state import state_of

routes = web.RouteTableDef()


@routes.get("/internal/logs")
async def log_text(request: web.Request) -> web.Response:
    return json_reply("".join(f"{e['t']} - {e['m']}" for e in state_of(request).logs.entries))


@routes.get("/internal/logs/raw")
async def log_entries(request: web.Request) -> web.Response:
    return json_reply(state_of(request).logs.as_json())


@routes.patch("/internal/logs/subscribe")
async def subscribe(request: web.Request) -> web.Response:
    body = await read_object(request)
    sid, enabled = body.get("clientId"), body.get("enabled")
    if not isinstance(sid, str) or not isinstance(enabled, bool):
        raise BadInput("The body needs 'clientId' (text) and 'enabled' (true or false).", hint="Use the id your socket was given.")
    state = state_of(request)
    sid = state.client_id(request, sid) or sid
    if enabled and state.hub.find(sid) is not None:
        state.logs.subscribers.add(sid)
    else:
        state.logs.subscribers.discard(sid)
    return web.Response()


@routes.get("/internal/folder_paths")
async def folder_paths(request: web.Request) -> web.Response:
    kinds = state_of(request).folders.kinds
    return json_reply({name: [str(p) for p in kind.paths] for name, kind in kinds.items()})


@routes.get("/internal/files/{kind}")
async def files(request: web.Request) -> web.Response:
    kind = request.match_info["kind"]
    if kind not in ("input", "output", "temp"):
        return json_reply({"error": "Invalid directory type"}, 400)
    return json_reply(await asyncio.to_thread(_newest_first, state_of(request).folders.directory(kind)))


def _newest_first(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    found = [p for p in directory.iterdir() if p.is_file() and not p.name.startswith(".")]
    return [p.name for p in sorted(found, key=lambda p: p.stat().st_mtime, reverse=True)]


@routes.get("/audit")
async def audit(request: web.Request) -> web.Response:
    """The newest lines of the audit log, oldest of them first (`limit`, 200 at most 5000)."""
    limit = min(max(int_query(request, "limit") or 200, 1), 5000)
    return json_reply(await asyncio.to_thread(state_of(request).audit.last, limit))

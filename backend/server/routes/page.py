"""The editor's files, pack scripts, templates and node help. Last in line: it answers GET for every path nobody else has."""

from __future__ import annotations

import asyncio
import mimetypes
from functools import lru_cache
from pathlib import Path

from aiohttp import web

from backend.base.errors import Problem
from backend.base.paths import contain
from backend.server.assets import Assets
from backend.server.routes.extensions import web_directories
from backend.server.state import state_of

routes = web.RouteTableDef()
_LOOK_AGAIN_S = 2.0
_FOR_GOOD = "public, max-age=31536000, immutable"
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".md": "text/markdown", ".svg": "image/svg+xml", ".json": "application/json"}


@routes.get("/")
@routes.get("/app")
async def index(request: web.Request) -> web.StreamResponse:
    """The editor, at /app with its form view open. Its files are named by what is in them, so that a browser asks for each only once."""
    state = state_of(request)
    if state.settings.front_end_root is not None:
        return _file(state.web_root, "index.html")
    text = await asyncio.to_thread(_assets(state.web_root).page, "index.html")
    return web.Response(text=text, content_type="text/html", headers={"Cache-Control": "no-cache"})


@routes.get("/assets/{version}/{file:.*}")
async def asset(request: web.Request) -> web.StreamResponse:
    """A file of the editor at this version, for good; of another version what is there now, not to be kept."""
    root, version, file = state_of(request).web_root, request.match_info["version"], request.match_info["file"]
    held = _assets(root).held(version, file, _LOOK_AGAIN_S)
    if held is not None:  # a page asks for a hundred in a row: no trip to the disk for each
        kind = _TYPES.get(Path(file).suffix.lower()) or mimetypes.guess_type(file)[0] or "application/octet-stream"
        return web.Response(body=held, headers={"Content-Type": kind, "Cache-Control": _FOR_GOOD})
    found = _file(root, file)
    if found.status == 200:
        current = await asyncio.to_thread(_assets(root).version, _LOOK_AGAIN_S) == version
        found.headers["Cache-Control"] = _FOR_GOOD if current else "no-cache"
    return found


@lru_cache(maxsize=4)
def _assets(root: Path) -> Assets:
    return Assets(root)


@routes.get("/extensions/{pack}/{file:.*}")
async def pack_file(request: web.Request) -> web.StreamResponse:
    state, name = state_of(request), request.match_info["pack"]
    directory = web_directories(state).get(name)
    if directory is not None:
        return _file(directory, request.match_info["file"])
    return _file(state.web_root / "extensions", f"{name}/{request.match_info['file']}")


@routes.get("/docs/{node}/{file:.*}")
async def help_page(request: web.Request) -> web.StreamResponse:
    """Help of a node: from its pack, else from the editor's own."""
    state = state_of(request)
    relative = f"docs/{request.match_info['node']}/{request.match_info['file']}"
    for directory in web_directories(state).values():
        found = _file(directory, relative)
        if found.status == 200:
            return found
    return _file(state.web_root, relative)


@routes.get("/{file:.*}")
async def anything(request: web.Request) -> web.StreamResponse:
    file = request.match_info["file"]
    others = _methods(request)
    if others:
        raise web.HTTPMethodNotAllowed(request.method, others)
    return _file(state_of(request).web_root, file)


def _methods(request: web.Request) -> list[str]:
    """The methods under which the path does exist."""
    found = set()
    for resource in request.app.router.resources():
        if resource.canonical != "/{file}":
            for route in resource:
                if route.method != request.method and resource.get_info().get("path") == request.path:
                    found.add(route.method)
    return sorted(found)


def _file(root: Path, relative: str) -> web.StreamResponse:
    try:
        path = contain(root, relative)
    except Problem:
        return web.Response(status=404)
    if not path.is_file():
        return web.Response(status=404)
    kind = _TYPES.get(path.suffix.lower())
    return web.FileResponse(path, headers={"Content-Type": kind} if kind else None)

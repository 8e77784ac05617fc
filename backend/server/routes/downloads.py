"""Fetching model files. (Ours.)"""

from __future__ import annotations

from aiohttp import web

from backend.base.errors import BadInput
from backend.server.replies import json_reply, read_object
from backend.server.state import state_of

routes = web.RouteTableDef()


@routes.get("/downloads")
async def downloads(request: web.Request) -> web.Response:
    """Every download of this start, with its state and progress."""
    return json_reply([d.json() for d in state_of(request).downloads.known.values()])


@routes.post("/downloads")
async def start(request: web.Request) -> web.Response:
    """Fetch `url` into the folder of `kind` as `name`; with `sha256` only if that is its hash."""
    body = await read_object(request)
    for key in ("url", "kind", "name"):
        if not isinstance(body.get(key), str):
            raise BadInput(f"The body needs {key!r} (text).", hint='Send {"url", "kind", "name"} and, better, "sha256".', input=key)
    sha256 = body.get("sha256")
    if sha256 is not None and not isinstance(sha256, str):
        raise BadInput("'sha256' must be a text.", hint="Leave it out, or send 64 hexadecimal digits.", input="sha256")
    return json_reply(state_of(request).downloads.start(body["url"], body["kind"], body["name"], sha256).json(), 202)


@routes.delete("/downloads/{id}")
async def cancel(request: web.Request) -> web.Response:
    """Stop a download. What has arrived is kept for the next try."""
    return json_reply(state_of(request).downloads.cancel(request.match_info["id"]).json())

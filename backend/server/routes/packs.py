"""GET /packs: the node packs, what they offer, and why one could not be loaded."""

from __future__ import annotations

from aiohttp import web

from backend.server.replies import json_reply
from backend.server.state import state_of

routes = web.RouteTableDef()
_SHOWN = ("name", "error", "missing", "wanted", "nodes", "faults", "seconds", "web_name", "traceback")


@routes.get("/packs")
async def packs(request: web.Request) -> web.Response:
    """[{name, error | null, missing | null, wanted, nodes, faults, seconds, web_name, traceback}]; empty until the worker is ready."""
    return json_reply([{key: pack.get(key) for key in _SHOWN} for pack in state_of(request).packs()])

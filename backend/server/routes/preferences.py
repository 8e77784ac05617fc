"""Users and their settings. (Contract 1.2.)"""

from __future__ import annotations

import asyncio

from aiohttp import web

from backend.base.errors import BadInput
from backend.server.replies import json_reply, read_json, read_object
from backend.server.state import state_of

routes = web.RouteTableDef()


@routes.get("/users")
async def users(request: web.Request) -> web.Response:
    state = state_of(request)
    if state.settings.multi_user:
        return json_reply({"storage": "server", "users": state.users.all()})
    return json_reply({"storage": "server", "migrated": (state.folders.user / "default").is_dir()})


@routes.post("/users")
async def add_user(request: web.Request) -> web.Response:
    name = (await read_object(request)).get("username")
    if not isinstance(name, str) or any(ord(c) < 32 for c in name):
        raise BadInput("'username' must be a text.", hint="Send a name with letters or digits.")
    try:
        id = await asyncio.wrap_future(state_of(request).users.add(name))
    except BadInput as problem:
        return json_reply({"error": problem.message}, 400)
    return json_reply(id)


@routes.get("/settings")
async def settings(request: web.Request) -> web.Response:
    state = state_of(request)
    return json_reply(state.preferences.all(state.user(request)))


@routes.post("/settings")
async def merge_settings(request: web.Request) -> web.Response:
    state = state_of(request)
    user = state.user(request)
    await asyncio.wrap_future(state.preferences.merge(user, await read_object(request)))
    return web.Response()


@routes.get("/settings/{id}")
async def setting(request: web.Request) -> web.Response:
    state = state_of(request)
    return json_reply(state.preferences.get(state.user(request), request.match_info["id"]))


@routes.post("/settings/{id}")
async def set_setting(request: web.Request) -> web.Response:
    state = state_of(request)
    user = state.user(request)
    value = await read_json(request)
    await asyncio.wrap_future(state.preferences.merge(user, {request.match_info["id"]: value}))
    return web.Response()

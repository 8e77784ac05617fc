"""Queue, history, interrupt, free, node descriptions, features, jobs. (Contract 1.2.)"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput
from backend.server.replies import int_query, json_reply, json_text, read_object, strings
from backend.server.state import State, state_of

routes = web.RouteTableDef()


def features_of(state: State) -> dict[str, Any]:
    """What this server can do, for clients that ask."""
    return {"supports_preview_metadata": True, "max_upload_size": state.settings.max_upload}


@routes.get("/features")
async def features(request: web.Request) -> web.Response:
    return json_reply(features_of(state_of(request)))


@routes.get("/history")
async def history(request: web.Request) -> web.StreamResponse:
    state = state_of(request)
    most, offset = int_query(request, "max_items"), int_query(request, "offset")
    pieces = state.history.page(None if most is None else max(most, 0), -1 if offset is None else offset, _whose(request))
    response = web.StreamResponse(headers={"Content-Type": "application/json; charset=utf-8"})
    first = await asyncio.to_thread(next, pieces)
    await response.prepare(request)
    piece: str | None = first
    while piece is not None:
        await response.write(piece.encode())
        piece = await asyncio.to_thread(next, pieces, None)
    await response.write_eof()
    return response


@routes.get("/history/{id}")
async def history_entry(request: web.Request) -> web.Response:
    return json_text(state_of(request).history.entry(request.match_info["id"], _whose(request)))


def _whose(request: web.Request) -> str | None:
    """Whose history the asker sees; None for all of it."""
    state = state_of(request)
    return None if state.sees(request, "") else state.owner(request)


@routes.post("/history")
async def change_history(request: web.Request) -> web.Response:
    state = state_of(request)
    body = await read_object(request)
    ids = strings(body.get("delete"), "delete")
    if body.get("clear"):
        await asyncio.wrap_future(state.history.clear(_whose(request)))
    if ids:
        await asyncio.wrap_future(state.history.delete(ids, _whose(request)))
    return web.Response()


@routes.post("/interrupt")
async def interrupt(request: web.Request) -> web.Response:
    body = await read_object(request, empty={})
    id = body.get("prompt_id")
    if id is not None and not isinstance(id, str):
        raise BadInput("'prompt_id' must be a text.", hint="Leave it out to interrupt whatever runs.")
    state = state_of(request)
    for job, _ in state.jobs.running:
        if id in (None, job.id) and state.sees(request, job.owner):
            state.jobs.interrupt(job.id)
    return web.Response()


@routes.post("/free")
async def free(request: web.Request) -> web.Response:
    body = await read_object(request)
    memory = bool(body.get("free_memory"))
    state_of(request).jobs.free(bool(body.get("unload_models")) or memory, memory)
    return web.Response()


@routes.get("/object_info")
async def object_info(request: web.Request) -> web.Response:
    document = await state_of(request).catalogue.document(state_of(request).choices(request))
    headers = {"ETag": document.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if document.etag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=headers)
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return web.Response(body=document.zipped, content_type="application/json", charset="utf-8", headers=headers)
    return web.Response(body=document.body, content_type="application/json", charset="utf-8", headers=headers)


@routes.get("/object_info/{id}")
async def one_object_info(request: web.Request) -> web.Response:
    return json_text(await state_of(request).catalogue.describe(request.match_info["id"], state_of(request).choices(request)))

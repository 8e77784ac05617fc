"""Files of the user: workflows, templates, small settings of packs. (Contract 1.5.)"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput, Refused
from backend.server.replies import flag_query, json_reply, problem_reply
from backend.server.state import state_of
from backend.storage.userdata import Info

routes = web.RouteTableDef()
_writing = threading.Lock()


class Changed(Refused):
    """The file is no longer what the client has read."""


def _version(path: Path) -> str | None:
    """The entity tag that a read of this file answers with; None when there is no file."""
    if not path.is_file():
        return None
    stat = path.stat()
    return f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'


@routes.get("/userdata")
async def listing(request: web.Request) -> web.Response:
    directory = request.query.get("dir", "")
    if not directory:
        raise BadInput("The query needs 'dir'.", hint="For example /userdata?dir=workflows.")
    files = state_of(request).user_files(request)
    if flag_query(request, "or_empty") and not files.path(directory).is_dir():
        return json_reply([])  # ours: for those to whom a folder nobody has made yet is an empty one
    found = await asyncio.to_thread(files.listing, directory, flag_query(request, "recurse"))
    if flag_query(request, "full_info"):
        return json_reply([info.json() for info in found])
    if flag_query(request, "split"):
        return json_reply([[info.path, *info.path.split("/")] for info in found])
    return json_reply([info.path for info in found])


@routes.get("/v2/userdata")
async def tree(request: web.Request) -> web.Response:
    files = state_of(request).user_files(request)
    directory = request.query.get("path", "")
    if not directory and not files.root.is_dir():
        return json_reply([])
    return json_reply(await asyncio.to_thread(files.tree, directory))


@routes.get("/userdata/{file}")
async def read(request: web.Request) -> web.StreamResponse:
    path = state_of(request).user_files(request).find(request.match_info["file"])
    kind = "application/json" if path.suffix == ".json" else "application/octet-stream"
    return web.FileResponse(path, headers={"Content-Type": kind, "Content-Security-Policy": "sandbox", "Cache-Control": "no-cache"})


@routes.post("/userdata/{file}")
async def write(request: web.Request) -> web.Response:
    files = state_of(request).user_files(request)
    name = request.match_info["file"]
    files.path(name)
    data = await request.read()
    await state_of(request).room_for(request, len(data))
    expected, absent = request.headers.get("If-Match"), request.headers.get("If-None-Match") == "*"

    def save() -> tuple[Info, str]:
        with _writing:  # nobody writes between the look and the deed
            there = _version(files.path(name))
            if (absent and there is not None) or (expected not in (None, "*") and expected != there):
                raise Changed(
                    f"{name!r} {'exists already' if absent else 'was changed or removed since it was read'}.",
                    hint="Read it again, or save under another name.",
                )
            info = files.write(name, data, flag_query(request, "overwrite", True))
            return info, _version(files.path(name)) or ""

    try:
        info, version = await asyncio.to_thread(save)
    except Changed as problem:
        return problem_reply(problem, 412)
    reply = _reply(request, info)
    reply.headers["ETag"] = version
    return reply


@routes.delete("/userdata/{file}")
async def delete(request: web.Request) -> web.Response:
    state_of(request).user_files(request).delete(request.match_info["file"])
    return web.Response(status=204)


@routes.post("/userdata/{file}/move/{dest}")
async def move(request: web.Request) -> web.Response:
    files = state_of(request).user_files(request)
    info = files.move(request.match_info["file"], request.match_info["dest"], flag_query(request, "overwrite", True))
    return _reply(request, info)


def _reply(request: web.Request, info: Info) -> web.Response:
    value: Any = info.json() if flag_query(request, "full_info") else info.path
    return json_reply(value)

"""Model files by kind. (Contract 1.2.)"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.errors import Problem
from backend.base.paths import Folders, Kind, contain
from backend.server.replies import flag_query, json_reply
from backend.server.state import state_of
from backend.storage import images
from backend.storage.metadata import safetensors_metadata

routes = web.RouteTableDef()
_NOT_MODELS = ("configs", "custom_nodes")
_COVERS = (".webp", ".png", ".jpg", ".jpeg")


def _kind(folders: Folders, name: str) -> Kind | None:
    """Aliases are not accepted here."""
    return folders.kinds.get(name)


@routes.get("/models")
async def kinds(request: web.Request) -> web.Response:
    return json_reply(list(state_of(request).folders.kinds))


@routes.get("/models/{kind}")
async def names(request: web.Request) -> web.Response:
    folders, kind = state_of(request).folders, request.match_info["kind"]
    if _kind(folders, kind) is None:
        return web.Response(status=404)
    return json_reply(await asyncio.to_thread(folders.list, kind))


@routes.get("/experiment/models")
async def model_kinds(request: web.Request) -> web.Response:
    found = state_of(request).folders.kinds.items()
    return json_reply([{"name": name, "folders": [str(p) for p in kind.paths]} for name, kind in found if name not in _NOT_MODELS])


@routes.get("/experiment/models/{kind}")
async def model_files(request: web.Request) -> web.Response:
    folders, name = state_of(request).folders, request.match_info["kind"]
    kind = _kind(folders, name)
    if kind is None:
        return web.Response(status=404)
    return json_reply(await asyncio.to_thread(_files, folders, name, kind))


def _files(folders: Folders, name: str, kind: Kind) -> list[dict[str, Any]]:
    found = []
    for file in folders.list(name):
        path = folders.find(name, file)
        if path is None:
            continue
        index = next(i for i, root in enumerate(kind.paths) if path.is_relative_to(root))
        stat = path.stat()
        about = {"name": file, "pathIndex": index, "modified": stat.st_mtime, "created": stat.st_ctime, "size": stat.st_size}
        found.append(about)
    return found


@routes.get("/experiment/models/preview/{kind}/{index}/{file:.*}")
async def preview(request: web.Request) -> web.Response:
    folders, match = state_of(request).folders, request.match_info
    kind = _kind(folders, match["kind"])
    if kind is None or not match["index"].isdecimal() or len(match["index"]) > 4 or int(match["index"]) >= len(kind.paths):
        return web.Response(status=404)
    try:
        model = contain(kind.paths[int(match["index"])], match["file"])
        data = await asyncio.to_thread(_cover, model)
    except Problem:
        return web.Response(status=404)
    if data is None:
        return web.Response(status=204 if flag_query(request, "or_empty") else 404)
    return web.Response(body=data, content_type="image/webp")


def _cover(model: Path) -> bytes | None:
    """A small picture beside the model file, or the one in its metadata."""
    if not model.is_file():
        return None
    for base in (model.with_suffix(""), model.with_suffix(".preview")):
        for extension in _COVERS:
            beside = base.with_name(base.name + extension)
            if beside.is_file():
                return images.reencode(beside, "webp", 90)
    text = (safetensors_metadata(model) or {}).get("modelspec.thumbnail") if model.suffix == ".safetensors" else None
    if not isinstance(text, str) or "base64," not in text:
        return None
    try:
        return images.reencode_bytes(base64.b64decode(text.split("base64,", 1)[1], validate=True), "webp", 90)
    except binascii.Error:
        return None


@routes.get("/view_metadata/{kind}")
async def metadata(request: web.Request) -> web.Response:
    """What a safetensors file says of itself; any problem is a 404, by contract."""
    folders, name = state_of(request).folders, request.query.get("filename", "")
    try:
        path = folders.find(request.match_info["kind"], name) if name.endswith(".safetensors") else None
        found = None if path is None else await asyncio.to_thread(safetensors_metadata, path)
    except Problem:
        found = None
    return web.Response(status=404) if found is None else json_reply(found)


@routes.get("/embeddings")
async def embeddings(request: web.Request) -> web.Response:
    found = await asyncio.to_thread(state_of(request).folders.list, "embeddings")
    return json_reply([os.path.splitext(name)[0] for name in found])

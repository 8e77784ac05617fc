"""Model files by kind. (Contract 1.2.)"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.errors import MissingFile, Problem
from backend.base.paths import Folders, Kind, contain
from backend.server.replies import flag_query, json_reply
from backend.server.state import state_of
from backend.storage import images
from backend.storage.metadata import safetensors_metadata

routes = web.RouteTableDef()
_NOT_MODELS = ("configs", "custom_nodes")
_MOST_WORKFLOW, _MOST_USERS, _GLANCE = 32 << 20, 50, 1 << 15
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
    return json_reply(await asyncio.to_thread(_files, folders, name, kind, flag_query(request, "covers")))


def _files(folders: Folders, name: str, kind: Kind, covers: bool) -> list[dict[str, Any]]:
    found = []
    for file in folders.list(name):
        path = folders.find(name, file)
        if path is None:
            continue
        index = next(i for i, root in enumerate(kind.paths) if path.is_relative_to(root))
        stat = path.stat()
        about = {"name": file, "pathIndex": index, "modified": stat.st_mtime, "created": stat.st_ctime, "size": stat.st_size}
        if covers:
            about["cover"] = _has_cover(path)
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


@routes.get("/models/{kind}/about")
async def about(request: web.Request) -> web.Response:
    """One file, `?name=`: {"size", "folder", "sha256" | null, "metadata" | null, "workflows"}. `hash=1` reads the whole file if need be."""
    state, name = state_of(request), request.query.get("name", "")
    kind = request.match_info["kind"]
    path = state.folders.find(kind, name) if _kind(state.folders, kind) is not None else None
    if path is None:
        raise MissingFile(f"There is no {kind} file named {name[:200]!r}.", hint="See GET /models.")
    workflows = state.user_files(request).path("workflows")
    sha256 = await asyncio.to_thread(state.digests.of, path, flag_query(request, "hash"))
    told = {"size": path.stat().st_size, "folder": str(path.parent), "sha256": sha256}
    told["metadata"] = await asyncio.to_thread(_metadata, path)
    told["workflows"] = await asyncio.to_thread(_mention, workflows, json.dumps(name, ensure_ascii=False))
    return json_reply(told)


def _metadata(path: Path) -> dict[str, Any] | None:
    """What a file says of itself; None where it says nothing, or its header is damaged."""
    try:
        return safetensors_metadata(path) if path.suffix == ".safetensors" else None
    except Problem:
        return None


def _mention(root: Path, text: str) -> list[str]:
    """Saved workflows that hold a text, newest first; huge ones are left out."""
    found = []
    for path in root.rglob("*.json") if root.is_dir() else ():
        stat = path.stat()
        if stat.st_size <= _MOST_WORKFLOW and text in path.read_text("utf-8", "replace"):
            found.append((stat.st_mtime, path.relative_to(root).as_posix()))
    return [name for _, name in sorted(found, reverse=True)][:_MOST_USERS]


def _has_cover(model: Path) -> bool:
    """Whether a picture lies beside the file, or seems to be in its header, of which only the beginning is read."""
    bases = (model.with_suffix(""), model.with_suffix(".preview"))
    if any(base.with_name(base.name + extension).is_file() for base in bases for extension in _COVERS):
        return True
    if model.suffix != ".safetensors":
        return False
    with open(model, "rb") as file:
        return b'"modelspec.thumbnail"' in file.read(_GLANCE)


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

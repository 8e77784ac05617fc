"""Pictures and uploads: /view, /upload/image, /upload/mask. (Contract 1.4.)"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_request import FileField

from backend.base.errors import BadInput, MissingFile, Problem, Refused
from backend.base.jsonable import loads
from backend.base.paths import Folders, contain, portable
from backend.server.replies import flag_query, json_reply
from backend.server.state import state_of
from backend.storage import images
from backend.storage.files import atomic, write_bytes

routes = web.RouteTableDef()
_COPY = 1 << 20
_REF_EXAMPLE = 'For example {"filename":"a.png","subfolder":"","type":"output"}.'


@routes.get("/view")
async def view(request: web.Request) -> web.StreamResponse:
    path = _requested(_folders(request), request.query)
    if path is None or not path.is_file():
        return web.Response(status=204 if flag_query(request, "or_empty") else 404)
    if "preview" in request.query:
        format, quality = _preview(request.query["preview"], request.query.get("channel", ""))
        data = await asyncio.to_thread(images.reencode, path, format, quality)
        return web.Response(body=data, content_type=f"image/{format}", headers=_disposition(path))
    channel = request.query.get("channel")
    if channel in ("rgb", "a"):
        data = await asyncio.to_thread(images.channels, path, channel)
        return web.Response(body=data, content_type="image/png", headers=_disposition(path))
    return web.FileResponse(path, headers=_typed(path))


def _folders(request: web.Request) -> Folders:
    """The directories of the asker."""
    state = state_of(request)
    return state.folders_of(state.owner(request))


def _requested(folders: Folders, query: Mapping[str, str]) -> Path | None:
    """The file a query names. Raises BadInput for what can be no name, Refused when it leads outside."""
    name = query.get("filename", "")
    if not name:
        return None
    name, kind = folders.annotated(name, query.get("type", "output"))
    if name.startswith(("/", "\\")) or ".." in name or kind not in ("input", "output", "temp"):
        raise BadInput("The file name or type is not usable.", hint="Name a file below input, output or temp.")
    root = folders.directory(kind)
    return contain(contain(root, query.get("subfolder", "")), Path(name).name if "/" not in name else name)


def _preview(text: str, channel: str) -> tuple[str, int]:
    format, _, quality = text.partition(";")
    if format not in ("webp", "jpeg") or "a" in channel:
        format = "webp"
    if quality and not (quality.isascii() and quality.isdigit() and len(quality) < 4 and 1 <= int(quality) <= 100):
        raise BadInput(f"The preview quality {quality[:20]!r} is not a number from 1 to 100.", hint="For example preview=webp;75.")
    return format, int(quality or 90)


def _disposition(path: Path, attached: bool = False) -> dict[str, str]:
    plain = path.name.encode("ascii", "replace").decode().replace('"', "'").replace("\\", "_")
    how = "attachment; " if attached else ""
    extra = "" if plain == path.name else f"; filename*=UTF-8''{quote(path.name)}"
    return {"Content-Disposition": f'{how}filename="{plain}"{extra}'}


def _typed(path: Path) -> dict[str, str]:
    """Only content that is known to be harmless is shown inline; the type comes from the content, never from the name."""
    kind = images.sniff(path)
    if kind is not None:
        return {"Content-Type": kind, **_disposition(path)}
    if path.suffix.lower() == ".svg":
        return {"Content-Type": "image/svg+xml", "Content-Security-Policy": "sandbox", **_disposition(path, attached=True)}
    return {"Content-Type": "application/octet-stream", "Content-Security-Policy": "sandbox", **_disposition(path)}


@routes.post("/upload/image")
async def upload_image(request: web.Request) -> web.Response:
    form = await _form(request)
    part, target, subfolder, kind = _target(_folders(request), form)
    await state_of(request).room_for(request, request.content_length or 0)

    def save() -> str:
        place = _place(target, part.file, _overwrite(form))
        if place is not None:
            with atomic(place) as file:
                part.file.seek(0)
                while chunk := part.file.read(_COPY):
                    file.write(chunk)
            return place.name
        return _same(target, part.file).name

    name = await asyncio.to_thread(save)
    return json_reply({"name": name, "subfolder": subfolder, "type": kind})


@routes.post("/upload/mask")
async def upload_mask(request: web.Request) -> web.Response:
    folders = _folders(request)
    form = await _form(request)
    part, target, subfolder, kind = _target(folders, form)
    await state_of(request).room_for(request, request.content_length or 0)
    original = _original(folders, form)

    def save() -> str:
        import io

        picture, texts = images.with_alpha_of(original, part.file.read(), target.name)
        rendered = io.BytesIO()
        images.save_png(rendered, picture, texts)
        place = _place(target, rendered, _overwrite(form))
        if place is None:
            return _same(target, rendered).name
        write_bytes(place, rendered.getvalue())
        return place.name

    name = await asyncio.to_thread(save)
    return json_reply({"name": name, "subfolder": subfolder, "type": kind})


async def _form(request: web.Request) -> Mapping[str, Any]:
    if not request.content_type.startswith("multipart/"):
        raise BadInput("The body must be multipart/form-data.", hint="Send the file as the part 'image'.")
    try:
        return await request.post()
    except (ValueError, AssertionError, LookupError, TypeError, HttpProcessingError) as error:
        raise BadInput(f"The multipart body is damaged: {error}.", hint="Send the file as the part 'image'.") from error


def _target(folders: Folders, form: Mapping[str, Any]) -> tuple[FileField, Path, str, str]:
    """The uploaded part and where it belongs. Raises BadInput."""
    part = form.get("image")
    if not isinstance(part, FileField) or not part.filename:
        raise BadInput("The upload has no file part named 'image'.", hint="Send the file as the part 'image' with a file name.")
    kind, subfolder = form.get("type", "input"), form.get("subfolder", "")
    if kind not in ("input", "output", "temp") or not isinstance(subfolder, str):
        raise BadInput(f"The upload type {kind!r:.40} is unknown.", hint="Use input, output or temp.")
    name = part.filename
    for piece in [*subfolder.split("/"), *name.split("/")]:
        portable(piece)
    try:
        target = contain(contain(folders.directory(kind), subfolder), name)
    except Refused as problem:
        raise BadInput(problem.message, hint=problem.hint) from problem
    return part, target, subfolder, kind


def _overwrite(form: Mapping[str, Any]) -> bool:
    return form.get("overwrite") in ("true", "1")


def _place(target: Path, content: IO[bytes], overwrite: bool) -> Path | None:
    """A free name for the content, or None when a file of such a name has it already."""
    if overwrite:
        return target
    for candidate in _candidates(target):
        if not candidate.exists():
            return candidate
        if _digest_path(candidate) == _digest(content):
            return None
    raise AssertionError("unreachable: there are endless candidates")


def _same(target: Path, content: IO[bytes]) -> Path:
    """The existing file with this content."""
    digest = _digest(content)
    return next(c for c in _candidates(target) if _digest_path(c) == digest)


def _candidates(target: Path) -> Iterator[Path]:
    yield target
    count = 0
    while True:
        count += 1
        yield target.with_name(f"{target.stem} ({count}){target.suffix}")


def _digest(file: IO[bytes]) -> bytes:
    file.seek(0)
    found = hashlib.blake2b()
    while chunk := file.read(_COPY):
        found.update(chunk)
    file.seek(0)
    return found.digest()


def _digest_path(path: Path) -> bytes:
    with open(path, "rb") as file:
        return _digest(file)


def _original(folders: Folders, form: Mapping[str, Any]) -> Path:
    """The picture a mask belongs to. Raises BadInput, MissingFile."""
    try:
        named = loads(str(form.get("original_ref", "")))
    except BadInput as problem:
        raise BadInput("'original_ref' must be JSON text.", hint=_REF_EXAMPLE) from problem
    if not isinstance(named, dict) or not all(isinstance(v, str) for v in named.values()):
        raise BadInput("'original_ref' must be an object of texts.", hint=_REF_EXAMPLE)
    try:
        path = _requested(folders, named)
    except Problem as problem:
        raise BadInput(f"'original_ref': {problem.message}", hint=problem.hint) from problem
    if path is None or not path.is_file():
        raise MissingFile("The picture that 'original_ref' names does not exist.", hint="Save it first.")
    return path

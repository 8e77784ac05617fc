"""The node packs: what they offer, why one could not be loaded, and changing them where the server was started to allow it. (Ours.)"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web
from aiohttp.web_request import FileField

from backend.base.errors import BadInput, MissingFile, Refused
from backend.server.replies import json_reply
from backend.server.security import is_loopback
from backend.server.state import State, state_of
from backend.storage.packs.folder import PackFolder
from backend.storage.packs.sources import Source, named

routes = web.RouteTableDef()
_SHOWN = ("name", "error", "missing", "wanted", "replaced", "nodes", "faults", "seconds", "web_name", "traceback")
_ACTIONS: Mapping[str, Callable[[PackFolder, str], None]] = {
    "rollback": PackFolder.roll_back,
    "disable": lambda packs, name: packs.switch(name, False),
    "enable": lambda packs, name: packs.switch(name, True),
    "pin": lambda packs, name: packs.pin(name, True),
    "unpin": lambda packs, name: packs.pin(name, False),
}


@routes.get("/packs")
async def packs(request: web.Request) -> web.Response:
    """[{name, error | null, missing | null, wanted, replaced, nodes, faults, seconds, web_name, traceback}]; [] while the worker starts."""
    return json_reply([{key: pack.get(key) for key in _SHOWN} for pack in state_of(request).packs()])


@routes.get("/packs/installed")
async def installed(request: web.Request) -> web.Response:
    """{"changes": whether they may be changed here, "packs": [{name, on, pinned, version, earlier}]}, those switched off too."""
    return await _installed(state_of(request))


async def _installed(state: State) -> web.Response:
    rows = await asyncio.to_thread(_folder(state).listed)
    listed = [{"name": p.name, "on": p.on, "pinned": p.pinned, "version": p.version, "earlier": p.earlier} for p in rows]
    return json_reply({"changes": why_not(state) is None, "packs": listed})


@routes.post("/packs/install")
async def install(request: web.Request) -> web.Response:
    """Put the zip file or git bundle of the part `pack` in place, as `name`; with `update` it may replace one. For the next start."""
    state = _allowed(request)
    if not request.content_type.startswith("multipart/"):
        raise BadInput("The body must be multipart/form-data.", hint="Send a zip file as the part 'pack'.")
    form = await request.post()
    part = form.get("pack")
    if not isinstance(part, FileField) or not part.filename:
        raise BadInput("The upload has no file part named 'pack'.", hint="Send a zip file as the part 'pack' with a file name.")
    file_name = part.filename.replace("\\", "/").rpartition("/")[2]
    name = named(str(form.get("name") or file_name.removesuffix(".zip").removesuffix(".bundle")))
    return json_reply(await asyncio.to_thread(_put, _folder(state), part, file_name, name, str(form.get("update", "")) in ("1", "true")))


def _put(packs: PackFolder, part: FileField, file_name: str, name: str, may_replace: bool) -> dict[str, Any]:
    if not file_name.endswith((".zip", ".bundle")):
        raise BadInput(f"{file_name[:80]!r} is neither a zip file nor a git bundle.", hint="Send the pack as one of these.")
    with tempfile.TemporaryDirectory(prefix="emulsion-upload-") as folder:
        path = Path(folder) / (name + Path(file_name).suffix)
        with open(path, "wb") as file:
            shutil.copyfileobj(part.file, file)
        source = Source(path, name, lasts=False)
        is_there = any(p.name == name for p in packs.listed())
        changes = packs.update(name, source) if is_there and may_replace else packs.install(source)
    return {"name": name, "changes": [{"package": c.name, "now": c.now, "then": c.then} for c in changes]}


@routes.post("/packs/{name}/{action}")
async def act(request: web.Request) -> web.Response:
    """rollback | disable | enable | pin | unpin. It counts from the next start."""
    state = _allowed(request)
    action = _ACTIONS.get(request.match_info["action"])
    if action is None:
        raise MissingFile(f"Packs have no action {request.match_info['action'][:40]!r}.", hint=f"There are {', '.join(_ACTIONS)}.")
    await asyncio.to_thread(action, _folder(state), request.match_info["name"])
    return await _installed(state)


def why_not(state: State) -> str | None:
    """Why packs cannot be changed over the network, or None. They are programs: whoever may put one in place may do everything."""
    if not state.settings.pack_changes:
        return "This server was not started with --allow-pack-changes."
    if not state.accounts and not all(is_loopback(address) for address in state.settings.listen):
        return "Others on the network reach this server without a token."
    return None


def _allowed(request: web.Request) -> State:
    state = state_of(request)
    why = why_not(state)
    if why is not None:
        raise Refused(f"Node packs cannot be changed from here. {why}", hint="On the machine itself there is: python main.py pack.")
    return state


def _folder(state: State) -> PackFolder:
    return PackFolder(state.folders.custom_nodes[0])

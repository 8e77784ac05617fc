"""What node packs bring for the editor: scripts, translations, example workflows, help. (Contract 1.2, 7.1.)"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.errors import Problem
from backend.base.paths import contain
from backend.server.replies import json_reply
from backend.server.state import State, state_of

routes = web.RouteTableDef()
_EXAMPLES = ("example_workflows", "example", "examples", "workflow", "workflows")
_PARTS = ("nodeDefs", "commands", "settings")
_MOST_TRANSLATION = 8 << 20


def web_directories(state: State) -> dict[str, Path]:
    """Pack name → directory served under /extensions/<name>/."""
    return {pack["web_name"]: Path(pack["web"]) for pack in state.packs() if pack.get("web")}


@routes.get("/extensions")
async def extensions(request: web.Request) -> web.Response:
    return json_reply(await asyncio.to_thread(_scripts, state_of(request)))


def _scripts(state: State) -> list[str]:
    root = state.web_root / "extensions"
    found = ["/extensions/" + p.relative_to(root).as_posix() for p in sorted(root.rglob("*.js"))] if root.is_dir() else []
    for name, directory in web_directories(state).items():
        found += [f"/extensions/{name}/{p.relative_to(directory).as_posix()}" for p in sorted(directory.rglob("*.js"))]
    return found


def _pack_directories(state: State) -> Iterator[Path]:
    for root in state.folders.custom_nodes:
        if root.is_dir():
            yield from sorted(p for p in root.iterdir() if p.is_dir() and not p.name.endswith(".disabled") and p.name != "__pycache__")


@routes.get("/i18n")
async def translations(request: web.Request) -> web.Response:
    return json_reply(await asyncio.to_thread(_translations, state_of(request)))


def _translations(state: State) -> dict[str, Any]:
    """`main.json` of every language and pack merged, the other files nested under their names."""
    merged: dict[str, Any] = {}
    for pack in _pack_directories(state):
        locales = pack / "locales"
        for language in sorted(p for p in locales.iterdir() if p.is_dir()) if locales.is_dir() else ():
            target = merged.setdefault(language.name, {})
            _merge(target, _object(state, language / "main.json"))
            for part in _PARTS:
                if content := _object(state, language / f"{part}.json"):
                    _merge(target.setdefault(part, {}), content)
    return merged


def _object(state: State, path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _MOST_TRANSLATION:
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        state.hello.setdefault("warnings", []).append(f"{path} is not JSON: {error}")
        return {}
    return value if isinstance(value, dict) else {}


def _merge(into: dict[str, Any], other: dict[str, Any]) -> None:
    for key, value in other.items():
        here = into.get(key)
        if isinstance(here, dict) and isinstance(value, dict):
            _merge(here, value)
        else:
            into[key] = value


@routes.get("/workflow_templates")
async def templates(request: web.Request) -> web.Response:
    return json_reply(await asyncio.to_thread(_templates, state_of(request)))


def _templates(state: State) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pack in _pack_directories(state):
        for name in _EXAMPLES:
            if names := sorted(p.stem for p in (pack / name).glob("*.json")):
                found.setdefault(pack.name, []).extend(names)
    return found


@routes.get("/workflow_templates/{pack}/{file:.*}")
async def template(request: web.Request) -> web.StreamResponse:
    state, file = state_of(request), request.match_info["file"]
    for pack in _pack_directories(state):
        if pack.name == request.match_info["pack"]:
            for name in _EXAMPLES:
                try:
                    path = contain(pack / name, file)
                except Problem:
                    return web.Response(status=404)
                if path.is_file():
                    return web.FileResponse(path)
    return web.Response(status=404)

"""POST /workflow/convert: either form of a workflow from the other, or both out of a picture. POST /workflow/models: which files of this
machine a graph means. (Ours.)"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput
from backend.graph.document import Prompt
from backend.graph.schema import Files
from backend.server.replies import json_reply, read_object
from backend.server.state import State, state_of
from backend.workflow.document import Workflow
from backend.workflow.from_prompt import from_prompt
from backend.workflow.legacy import current_type
from backend.workflow.library import Chosen, hashes_of, located
from backend.workflow.metadata import Embedded, read_bytes
from backend.workflow.to_prompt import Converted, to_prompt

routes = web.RouteTableDef()
_MOST_FETCHED = 64 << 20


@routes.post("/workflow/convert")
async def convert(request: web.Request) -> web.Response:
    state = state_of(request)
    seed = _seed(request.query.get("seed"))
    data = await request.read()
    if not data:
        raise BadInput("The body is empty.", hint="Send a workflow as JSON, or a picture that holds one.")
    found = await asyncio.to_thread(read_bytes, data)
    return json_reply(await both_forms(state, found, seed))


@routes.post("/workflow/fetch")
async def fetch(request: web.Request) -> web.Response:
    """The same for the file behind `url`, of the hosts that files may be fetched from."""
    url = (await read_object(request)).get("url")
    if not isinstance(url, str):
        raise BadInput("The body needs 'url' (text).", hint='Send {"url": "https://..."}.', input="url")
    state = state_of(request)
    found = await asyncio.to_thread(read_bytes, await state.downloads.read(url, _MOST_FETCHED))
    return json_reply(await both_forms(state, found))


@routes.post("/workflow/models")
async def models(request: web.Request) -> web.Response:
    state, body = state_of(request), await read_object(request)
    graph = body.get("prompt")
    if not isinstance(graph, dict):
        raise BadInput("The body needs a 'prompt'.", hint='Send {"prompt": {...}} and, where there is one, the editor\'s "workflow".')
    await state.catalogue.wait()
    prompt, report = await asyncio.to_thread(located, graph, Shelves(state), hashes_of(body.get("workflow")))
    return json_reply({"prompt": prompt, "models": _told(report)})


class Shelves:
    """The model files that the node types of this server offer."""

    def __init__(self, state: State) -> None:
        self._state = state

    def _files(self, type: str, input: str) -> Files | None:
        found = self._state.catalogue.registry.get(type)
        declared = None if found is None else found.by_name.get(input)
        if declared is None:
            return None
        kind = declared.kind if isinstance(declared.kind, Files) else (declared.options or {}).get("options")
        return kind if isinstance(kind, Files) and kind.kind in self._state.folders.kinds else None

    def names(self, type: str, input: str) -> Sequence[str] | None:
        files = self._files(type, input)
        return None if files is None else self._state.catalogue.choices(files)

    def by_hash(self, type: str, input: str, digest: str) -> tuple[str | None, bool]:
        files, folders = self._files(type, input), self._state.folders
        assert files is not None
        paths = {name: path for name in folders.list(files.kind) if (path := folders.find(files.kind, name)) is not None}
        return self._state.digests.find(paths, digest)

    def elsewhere(self, name: str) -> Sequence[str]:
        folders = self._state.folders
        known = (f"{kind}/{file}" for kind in folders.kinds if kind != "custom_nodes" for file in folders.list(kind))
        return [place for place in known if Path(place).name.lower() == name]


def _told(report: Sequence[Chosen]) -> list[dict[str, Any]]:
    return [asdict(chosen) for chosen in report]


async def both_forms(state: State, found: Embedded, seed: int | None = None) -> dict[str, Any]:
    """The prompt and the workflow of a file; the one it lacks is made from the other. Raises BadInput, BadFile."""
    if found.workflow is not None and found.prompt is None:
        made, report = await unfolded(state, found.workflow, seed)
        missing = {type: {"pack": pack, "nodes": list(ids)} for type, (pack, ids) in made.missing.items()}
        notes = [*made.notes, *(chosen.note for chosen in report)]
        return {"prompt": made.prompt, "workflow": found.workflow, "missing": missing, "notes": notes, "models": _told(report)}
    await state.catalogue.wait()
    prompt, report = await asyncio.to_thread(located, found.prompt or {}, Shelves(state), hashes_of(found.workflow))
    told: dict[str, Any] = {"notes": [chosen.note for chosen in report], "models": _told(report)}
    if found.workflow is not None:
        return {"prompt": prompt, "workflow": found.workflow, "missing": {}, **told}
    parsed = Prompt.parse(prompt)
    workflow = await asyncio.to_thread(lambda: from_prompt(parsed, _definitions(state, {node.type for node in parsed.nodes.values()})))
    unknown: dict[str, dict[str, Any]] = {}
    for id, node in parsed.nodes.items():
        if node.type not in state.catalogue.registry:
            unknown.setdefault(node.type, {"pack": "", "nodes": []})["nodes"].append(id)
    return {"prompt": prompt, "workflow": workflow, "missing": unknown, **told}


async def unfolded(state: State, document: Mapping[str, Any], seed: int | None = None) -> tuple[Converted, list[Chosen]]:
    """The prompt of an editor workflow, with the node types and model files of this server. Raises BadInput, BadFile."""
    await state.catalogue.wait()

    def work() -> tuple[Converted, list[Chosen]]:
        workflow = Workflow.parse(document)
        made = to_prompt(workflow, _definitions(state, workflow.types()), seed=seed)
        prompt, report = located(made.prompt, Shelves(state), hashes_of(document))
        return replace(made, prompt=prompt), report

    return await asyncio.to_thread(work)


def _definitions(state: State, types: Iterable[str]) -> dict[str, Any]:
    return state.catalogue.definitions({current_type(type) for type in types})


def _seed(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput(f"The query value seed={text[:40]!r} is not a whole number.", hint="Leave it out to take first choices.")
    return int(text)

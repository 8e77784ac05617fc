"""POST /workflow/convert: either form of a workflow from the other, or both out of a picture. (Ours.)"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput
from backend.graph.document import Prompt
from backend.server.replies import json_reply
from backend.server.state import State, state_of
from backend.workflow.document import Workflow
from backend.workflow.from_prompt import from_prompt
from backend.workflow.legacy import current_type
from backend.workflow.metadata import Embedded, read_bytes
from backend.workflow.to_prompt import Converted, to_prompt

routes = web.RouteTableDef()


@routes.post("/workflow/convert")
async def convert(request: web.Request) -> web.Response:
    state = state_of(request)
    seed = _seed(request.query.get("seed"))
    data = await request.read()
    if not data:
        raise BadInput("The body is empty.", hint="Send a workflow as JSON, or a picture that holds one.")
    found = await asyncio.to_thread(read_bytes, data)
    return json_reply(await both_forms(state, found, seed))


async def both_forms(state: State, found: Embedded, seed: int | None = None) -> dict[str, Any]:
    """The prompt and the workflow of a file; the one it lacks is made from the other. Raises BadInput, BadFile."""
    if found.prompt is not None and found.workflow is not None:
        return {"prompt": found.prompt, "workflow": found.workflow, "missing": {}, "notes": []}
    if found.workflow is not None:
        made = await unfolded(state, found.workflow, seed)
        missing = {type: {"pack": pack, "nodes": list(ids)} for type, (pack, ids) in made.missing.items()}
        return {"prompt": made.prompt, "workflow": found.workflow, "missing": missing, "notes": list(made.notes)}
    parsed = Prompt.parse(found.prompt)
    await state.catalogue.wait()
    workflow = await asyncio.to_thread(lambda: from_prompt(parsed, _definitions(state, {node.type for node in parsed.nodes.values()})))
    unknown: dict[str, dict[str, Any]] = {}
    for id, node in parsed.nodes.items():
        if node.type not in state.catalogue.registry:
            unknown.setdefault(node.type, {"pack": "", "nodes": []})["nodes"].append(id)
    return {"prompt": found.prompt, "workflow": workflow, "missing": unknown, "notes": []}


async def unfolded(state: State, document: Mapping[str, Any], seed: int | None = None) -> Converted:
    """The prompt of an editor workflow, with the node types of this server. Raises BadInput, BadFile."""
    await state.catalogue.wait()

    def work() -> Converted:
        workflow = Workflow.parse(document)
        return to_prompt(workflow, _definitions(state, workflow.types()), seed=seed)

    return await asyncio.to_thread(work)


def _definitions(state: State, types: Iterable[str]) -> dict[str, Any]:
    return state.catalogue.definitions({current_type(type) for type in types})


def _seed(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise BadInput(f"The query value seed={text[:40]!r} is not a whole number.", hint="Leave it out to take first choices.")
    return int(text)

"""POST /prompt: check, number, accept. (Contract 1.3.)"""

from __future__ import annotations

import json
import math
import time
import uuid
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput, Problem
from backend.graph.document import MAX_ID, InvalidPrompt
from backend.graph.validate import refused
from backend.server.replies import LARGE_BODY, error_body, json_reply, json_text, problem_reply, read_object, require_json
from backend.server.routes.workflow import unfolded
from backend.server.state import State, state_of
from backend.server.wire import dump
from backend.storage.queue import Duplicate, QueuedJob
from backend.workflow.document import is_editor_form

routes = web.RouteTableDef()
SECRETS = ("auth_token_comfy_org", "api_key_comfy_org")


@routes.get("/prompt")
async def remaining(request: web.Request) -> web.Response:
    return json_text(f'{{"exec_info":{{"queue_remaining":{len(state_of(request).queue)}}}}}')


@routes.post("/prompt")
async def submit(request: web.Request) -> web.Response:
    state = state_of(request)
    if state.stopping:
        return json_reply(error_body("stopping", "The server is stopping and takes no new jobs.", "Try again in a moment."), 503)
    require_json(request, await request.read())
    sent = await request.read()
    body = state.submissions.body(sent)
    if body is None:
        body = await read_object(request)
        state.submissions.keep(sent, body)
    if state.hello.get("on_prompt"):
        body = await state.catalogue.rewritten(body)
    await state.room_for(request)
    number = _number(state, body)
    large = (request.content_length or 0) > LARGE_BODY
    if "prompt" not in body:
        return json_reply(error_body("no_prompt", "No prompt provided", "The body has no key 'prompt'."), 400)
    id, again = _id(body)
    extra = _extra(body)
    targets = body.get("partial_execution_targets")
    if targets is not None and not (isinstance(targets, list) and all(isinstance(t, str) for t in targets)):
        raise BadInput("'partial_execution_targets' must be an array of node ids.", hint="Leave it out to run every output.")
    graph, notes = body["prompt"], list[str]()
    if is_editor_form(graph):
        extra.setdefault("extra_pnginfo", {"workflow": graph})
        made, chosen = await unfolded(state, graph)
        graph, notes = made.prompt, [*made.notes, *(model.note for model in chosen)]
    try:
        parsed = state.submissions.prompt(graph)
    except InvalidPrompt as problem:
        return json_reply({"error": refused(problem), "node_errors": {}}, 400)
    checked = await state.check(request, parsed, targets, large)
    if checked.error is not None:
        return json_reply({"error": checked.error, "node_errors": checked.node_errors}, 400)
    secrets = {name: str(extra.pop(name)) for name in SECRETS if name in extra}
    client = extra.get("client_id")
    owner = state.owner(request)
    if owner is not None:
        extra["owner"] = owner  # the worker gives its nodes this user's directories
    job = QueuedJob(
        id=id,
        number=number,
        client=state.client_id(request, client if isinstance(client, str) else None),
        prompt=state.submissions.text(checked),
        extra=dump(extra),
        targets=dump(list(checked.targets)),
        created=time.time(),
        secrets=secrets,
        owner=owner,
    )
    try:
        await state.jobs.submit(job, replace=again)
    except Duplicate as problem:
        return problem_reply(_named(problem), 409)
    errors = "{}" if not checked.node_errors else dump(checked.node_errors)
    more = f',"notes":{dump(notes)}' if notes else ""
    return json_text(f'{{"prompt_id":{json.dumps(id)},"number":{json.dumps(number)},"node_errors":{errors}{more}}}')


def _number(state: State, body: dict[str, Any]) -> int | float:
    """Priority: the client's own, else the next of the counter, negative to overtake."""
    if body.get("number") is not None:
        given = body["number"]
        if isinstance(given, bool) or not isinstance(given, (int, float)):
            raise BadInput(
                f"'number' must be a number, not {given!r:.60}.", hint="Leave it out, or send a priority: the lowest runs first."
            )
        if not math.isfinite(given) or abs(given) > 2**53:
            raise BadInput("'number' must be finite and below 2^53.", hint="Leave it out, or send a smaller priority.")
        return float(given)
    count = state.counter
    state.counter += 1
    return -count if body.get("front") else count


def _id(body: dict[str, Any]) -> tuple[str, bool]:
    """The client's id for the job, or a new one; True when a finished job of that id may be replaced."""
    if "prompt_id" not in body:
        return str(uuid.uuid4()), False
    given = body["prompt_id"]
    if isinstance(given, (dict, list)):
        raise BadInput("'prompt_id' must be a text.", hint="Leave it out to get a new one.")
    id = str(given)
    if not 0 < len(id) <= MAX_ID or "\0" in id:
        raise BadInput(f"'prompt_id' must have 1 to {MAX_ID} characters and no NUL.", hint="Leave it out to get a new one.")
    return id, given is None


def _extra(body: dict[str, Any]) -> dict[str, Any]:
    extra = body.get("extra_data")
    if extra is None:
        extra = {}
    if not isinstance(extra, dict):
        raise BadInput("'extra_data' must be an object.", hint="Leave it out, or send {...}.")
    extra = {name: value for name, value in extra.items() if name != "owner"}  # who that is nobody says of themselves
    if "client_id" in body:
        extra["client_id"] = body["client_id"]
    return extra


def _named(problem: Problem) -> Problem:
    return problem.at(input="prompt_id")

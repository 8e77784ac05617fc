"""The queue: listing, paging, order, pause, and what can be done with one job. (Contract 1.2 for GET and POST /queue; the rest is ours.)"""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from backend.base.errors import BadInput, MissingFile
from backend.graph.document import InvalidPrompt, Prompt
from backend.graph.validate import refused
from backend.server.replies import error_body, int_query, json_reply, json_text, read_object, strings
from backend.server.routes.workflow import unfolded
from backend.server.state import state_of
from backend.server.wire import dump, quote
from backend.storage.queue import NotWaiting, QueuedJob
from backend.workflow.document import is_editor_form

routes = web.RouteTableDef()
MOST_IN_PAGE = 1000
_STATES = ("", "success", "error", "interrupted")


@routes.get("/queue")
async def queue(request: web.Request) -> web.Response:
    """What runs and what waits. With `limit` (and `offset`): a page in running order, the total, and whether the queue is paused."""
    state = state_of(request)
    limit, offset = int_query(request, "limit"), int_query(request, "offset") or 0
    running = _mine(request, list(state.queue.running.values()))
    if limit is None:
        pending = _mine(request, state.queue.in_heap_order())
        return json_text(f'{{"queue_running":[{_items(running)}],"queue_pending":[{_items(pending)}]}}')
    pending = _mine(request, state.queue.in_line())
    limit, offset = min(max(limit, 0), MOST_IN_PAGE), max(offset, 0)
    about = f'"total":{len(pending)},"offset":{offset},"paused":{json.dumps(state.jobs.held)}'
    return json_text(f'{{"queue_running":[{_items(running)}],"queue_pending":[{_items(pending[offset : offset + limit])}],{about}}}')


def _mine(request: web.Request, jobs: list[QueuedJob]) -> list[QueuedJob]:
    """Those the asker may see, of one client where the query names it."""
    state, client = state_of(request), request.query.get("client")
    if client is not None:
        client = state.client_id(request, client)
        jobs = [job for job in jobs if job.client == client]
    return [job for job in jobs if state.sees(request, job.owner)] if state.accounts.users else jobs


def _items(jobs: list[QueuedJob]) -> str:
    return ",".join(f"[{dump(job.number)},{quote(job.id)},{job.prompt},{job.extra},{job.targets}]" for job in jobs)


@routes.post("/queue")
async def change_queue(request: web.Request) -> web.Response:
    """Drop waiting jobs: all (`clear`) or some (`delete`)."""
    state = state_of(request)
    body = await read_object(request)
    ids = strings(body.get("delete"), "delete")
    if body.get("clear"):
        ids = list(state.queue.pending)
    if state.accounts.users:
        ids = [id for id in ids if (job := state.queue.pending.get(id)) is not None and state.sees(request, job.owner)]
    if state.queue.delete(ids):
        state.hub.status(None)
    return web.Response()


@routes.post("/queue/pause")
async def pause(request: web.Request) -> web.Response:
    """Start no further job, also after a restart; what runs goes on."""
    return await _hold(request, True)


@routes.post("/queue/resume")
async def resume(request: web.Request) -> web.Response:
    """Start jobs again."""
    return await _hold(request, False)


async def _hold(request: web.Request, held: bool) -> web.Response:
    state = state_of(request)
    await asyncio.wrap_future(state.preferences.merge("", {"queue.paused": held}))
    state.jobs.hold(held)
    return json_reply({"paused": held})


@routes.post("/queue/reorder")
async def reorder(request: web.Request) -> web.Response:
    """Put waiting jobs (`ids`, in their new order) right before the waiting job `before`, or first of all."""
    state = state_of(request)
    body = await read_object(request)
    ids, before = strings(body.get("ids"), "ids"), body.get("before")
    if before is not None and not isinstance(before, str):
        raise BadInput("'before' must be the id of a waiting job.", hint="Leave it out to put the jobs first.")
    for id in ids:
        _waiting(request, id)
    done = state.queue.place(ids, before)
    if done is None:
        raise NotWaiting("Nothing of this waits in the queue.", hint="Send the ids of waiting jobs, see GET /queue.")
    await asyncio.wrap_future(done)
    return json_reply({"order": [job.id for job in _mine(request, state.queue.in_line())]})


@routes.get("/jobs")
async def jobs(request: web.Request) -> web.Response:
    """Finished jobs, newest first: `search`, `state`, `limit`, and `before` = the `next` of the page before."""
    state, query = state_of(request), request.query
    wanted, limit = query.get("state", ""), int_query(request, "limit")
    if wanted not in _STATES:
        raise BadInput(f"There is no state {wanted!r:.40} of a finished job.", hint="Use success, error or interrupted.")
    limit = min(max(50 if limit is None else limit, 1), MOST_IN_PAGE)
    owner = None if state.sees(request, "") else state.owner(request)
    found = await asyncio.to_thread(state.history.search, query.get("search", "")[:200], wanted, owner, int_query(request, "before"), limit)
    entries = []
    for job in found:
        pictures = list(_pictures(json.loads(job.outputs)))
        entries.append(
            {
                "id": job.id,
                "state": job.state,
                "number": job.number,
                "created": job.created,
                "finished": job.finished,
                "error": job.error,
                "pictures": len(pictures),
                "thumbnail": pictures[0] if pictures else None,
            }
        )
    return json_reply({"jobs": entries, "next": found[-1].position if len(found) == limit else None})


def _pictures(outputs: dict[str, Any]) -> Iterator[str]:
    """The addresses of small copies of a job's pictures."""
    from urllib.parse import urlencode

    for shown in outputs.values():
        for item in shown.get("images", ()) if isinstance(shown, dict) else ():
            if isinstance(item, dict) and isinstance(item.get("filename"), str):
                where = {name: str(item.get(name, "")) for name in ("filename", "subfolder", "type")}
                yield "/view?" + urlencode({**where, "preview": "webp;60"})


def _known(request: web.Request, id: str) -> dict[str, Any]:
    """A job that the asker may see. Raises MissingFile: whose it is shows nobody else."""
    found = state_of(request).history.job(id)
    if found is None or not state_of(request).sees(request, found["owner"]):
        raise MissingFile(f"There is no job {id!r:.80}.", hint="See GET /queue and GET /jobs.")
    return found


def _waiting(request: web.Request, id: str) -> QueuedJob:
    """A waiting job of the asker. Raises MissingFile, NotWaiting."""
    state = state_of(request)
    job = state.queue.pending.get(id)
    if job is None:
        _known(request, id)
        raise NotWaiting(
            f"Job {id!r:.80} does not wait any more.", hint="Only waiting jobs can be changed; queue it again with /jobs/{id}/retry."
        )
    if not state.sees(request, job.owner):
        raise MissingFile(f"There is no job {id!r:.80}.", hint="See GET /queue and GET /jobs.")
    return job


@routes.get("/jobs/{id}")
async def job(request: web.Request) -> web.Response:
    """State, attempts and error of a job."""
    found = state_of(request).history.job(request.match_info["id"])
    if found is None or not state_of(request).sees(request, found.pop("owner")):
        return json_reply({}, 404)
    return json_reply(found)


@routes.get("/jobs/{id}/events")
async def job_events(request: web.Request) -> web.Response:
    """What happened in a job's run, with the reasons why nodes ran and their seconds."""
    state, id = state_of(request), request.match_info["id"]
    if state.accounts.users:
        _known(request, id)
    return json_reply(await asyncio.to_thread(state.jobs.story, id))


@routes.patch("/jobs/{id}")
async def edit(request: web.Request) -> web.Response:
    """Give a waiting job another priority (`number`) or another graph (`prompt`, either form)."""
    state, id = state_of(request), request.match_info["id"]
    body = await read_object(request)
    _waiting(request, id)
    number = body.get("number")
    if number is not None and (
        isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number) or abs(number) > 2**53
    ):
        raise BadInput(f"'number' must be a number below 2^53, not {number!r:.60}.", hint="The lowest runs first.")
    if "prompt" in body:
        reply = await _edit_graph(request, id, body["prompt"])
        if reply is not None:
            return reply
    if number is not None:
        done = state.queue.renumber(id, number)
        if done is None:
            raise NotWaiting(f"Job {id!r:.80} has just begun.", hint="Cancel it and queue it again.")
        await asyncio.wrap_future(done)
    about = _known(request, id)
    return json_reply({"id": id, "number": about["number"], "state": about["state"]})


def _is_priority(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and abs(value) <= 2**53


async def _edit_graph(request: web.Request, id: str, graph: Any) -> web.Response | None:
    """Check the new graph as a submission would be; a reply where it is refused."""
    state = state_of(request)
    extra = json.loads(_waiting(request, id).extra)
    if is_editor_form(graph):
        extra["extra_pnginfo"] = {**(extra.get("extra_pnginfo") or {}), "workflow": graph}
        graph = (await unfolded(state, graph))[0].prompt
    try:
        parsed = Prompt.parse(graph)
    except InvalidPrompt as problem:
        return json_reply({"error": refused(problem), "node_errors": {}}, 400)
    checked = await state.check(request, parsed, None, True)
    if checked.error is not None:
        return json_reply({"error": checked.error, "node_errors": checked.node_errors}, 400)
    done = state.queue.edit(id, dump(checked.prompt.to_json()), dump(extra), dump(list(checked.targets)))
    if done is None:
        raise NotWaiting(f"Job {id!r:.80} has just begun.", hint="Cancel it and queue it again.")
    await asyncio.wrap_future(done)
    return None


@routes.post("/jobs/{id}/retry")
async def retry(request: web.Request) -> web.Response:
    """Queue a finished job again under a new id."""
    state, id = state_of(request), request.match_info["id"]
    if state.stopping:
        return json_reply(error_body("stopping", "The server is stopping and takes no new jobs.", "Try again in a moment."), 503)
    about = _known(request, id)
    if about["finished"] is None:
        raise NotWaiting(f"Job {id!r:.80} has not ended yet.", hint="Cancel it first, or wait.")
    document = await asyncio.to_thread(state.history.document, id)
    if document is None:
        raise MissingFile(f"There is no job {id!r:.80}.", hint="See GET /jobs.")
    prompt, extra, targets = document
    client = json.loads(extra).get("client_id")
    number = state.counter
    state.counter += 1
    again = QueuedJob(
        id=str(uuid.uuid4()),
        number=number,
        client=state.client_id(request, client if isinstance(client, str) else None),
        prompt=prompt,
        extra=extra,
        targets=targets,
        created=time.time(),
        owner=about["owner"],
    )
    await state.jobs.submit(again)
    return json_reply({"prompt_id": again.id, "number": number, "retry_of": id})


@routes.delete("/jobs/{id}")
async def delete(request: web.Request) -> web.Response:
    """Take a waiting job out of the queue, cancel a running one, forget a finished one."""
    state, id = state_of(request), request.match_info["id"]
    about = _known(request, id)
    if id in state.queue.pending:
        state.queue.delete([id])
        state.hub.status(None)
        return json_reply({"id": id, "did": "dropped"})
    if about["finished"] is None:
        state.jobs.interrupt(id)
        return json_reply({"id": id, "did": "cancelled"})
    await asyncio.wrap_future(state.history.delete([id]))
    return json_reply({"id": id, "did": "forgotten"})

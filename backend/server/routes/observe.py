"""Looking at the server from outside: /metrics, /openapi.json, and the timeline of a job. (Ours.)"""

from __future__ import annotations

import asyncio
import json

from aiohttp import web

from backend.base.errors import MissingFile
from backend.server import metrics, openapi
from backend.server.replies import json_reply
from backend.server.state import state_of
from backend.server.trace import trace

routes = web.RouteTableDef()


@routes.get("/metrics")
async def figures(request: web.Request) -> web.Response:
    """Counters and gauges for Prometheus."""
    return web.Response(body=metrics.text(state_of(request)).encode(), headers={"Content-Type": metrics.CONTENT_TYPE})


@routes.get("/openapi.json")
async def description(request: web.Request) -> web.Response:
    """The description of this API (OpenAPI 3.1)."""
    return json_reply(await asyncio.to_thread(openapi.document, request.app))


@routes.get("/jobs/{id}/trace")
async def timeline(request: web.Request) -> web.Response:
    """When a job waited, ran, and what its nodes took: open it with chrome://tracing or Perfetto."""
    state, id = state_of(request), request.match_info["id"]
    about = state.history.job(id)
    document = state.history.document(id)
    if about is None or document is None or not state.sees(request, about["owner"]):
        raise MissingFile(f"There is no job {id!r:.80}.", hint="See GET /queue and GET /jobs.")
    types = {node: str(value.get("class_type", "")) for node, value in json.loads(document[0]).items()}
    story = await asyncio.to_thread(state.jobs.story, id)
    name = "".join(c for c in id if c.isalnum() or c in "-_")[:64]
    headers = {"Content-Disposition": f'attachment; filename="trace-{name}.json"'}
    return json_reply(trace(about, story, types), headers=headers)

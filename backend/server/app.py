"""The aiohttp application: every route twice (plain and under /api), typed errors, limits."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web
from aiohttp.typedefs import Handler

from backend.base.errors import BadInput, Problem
from backend.server import proxy, security
from backend.server.replies import error_body, json_reply, problem_reply
from backend.server.routes import (
    core,
    downloads,
    extensions,
    files,
    internal,
    models,
    observe,
    packs,
    page,
    preferences,
    prompt,
    queue,
    socket,
    system,
    userdata,
    workflow,
)
from backend.server.state import STATE, State, UnknownUser

DOUBLED = (core, downloads, extensions, files, models, observe, packs, preferences, prompt, queue, socket, system, userdata, workflow)
_HEADER_LIMIT = 16 << 10


def build(state: State) -> web.Application:
    """The application of a front."""
    settings = state.settings
    guard = security.Guard(settings, state.accounts, state.audit, state.requests.count)
    app = web.Application(client_max_size=settings.max_upload, middlewares=[guard.middleware(), _errors, proxy.middleware()])
    app[STATE] = state
    for room in DOUBLED:
        app.add_routes(room.routes)
        for route in room.routes:
            if isinstance(route, web.RouteDef) and not route.path.startswith("/ws_"):
                app.router.add_route(route.method, "/api" + route.path, route.handler, **route.kwargs)
    app.add_routes(internal.routes)
    app.add_routes(page.routes)
    return app


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Problems become their status; what nobody foresaw becomes a 500 that says so, and a traceback in the log."""
    most = request.app[STATE].settings.max_upload
    try:
        if (request.content_length or 0) > most:  # known before anything is read
            return _too_large(most)
        with drop_when_stalled(request, request.app[STATE].settings.request_timeout):
            return await handler(request)
    except UnknownUser as problem:
        return problem_reply(problem, 401)
    except Problem as problem:
        return problem_reply(problem)
    except web.HTTPRequestEntityTooLarge:
        return _too_large(most)
    except web.HTTPException as reply:
        if reply.status < 400 or reply.body or reply.status in (403, 404, 405):
            raise
        return json_reply(error_body("http_error", reply.reason), reply.status)
    except (ConnectionError, TimeoutError):
        raise
    except Exception as error:  # noqa: BLE001  the last net: the server stays up and the log has the traceback
        state = request.app[STATE]
        for line in traceback.format_exc().rstrip().splitlines():
            state.logs.write(line)
        message = f"The server failed to answer: {type(error).__name__}."
        return json_reply(error_body("internal_error", message, "The log has the details."), 500)


@contextmanager
def drop_when_stalled(request: web.Request, patience_s: float) -> Iterator[None]:
    """Cut the connection of a request whose body stops arriving. One that has arrived, as most have, costs nothing."""
    content = request.content
    if not request.body_exists or content.is_eof():
        yield
        return
    loop = asyncio.get_running_loop()
    watch: list[asyncio.TimerHandle] = []

    def look(seen: int) -> None:
        if content.is_eof() or request.transport is None:
            return
        if content.total_bytes == seen:
            request.transport.abort()
        else:
            watch[:] = [loop.call_later(patience_s, look, content.total_bytes)]

    watch.append(loop.call_later(patience_s, look, content.total_bytes))
    try:
        yield
    finally:
        watch[0].cancel()


def _too_large(most: int) -> web.Response:
    problem = BadInput(f"The body is larger than {most >> 20} MB.", hint="Start the server with a larger --max-upload-size.")
    reply = problem_reply(problem, 413)
    reply.force_close()
    return reply

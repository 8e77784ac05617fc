"""GET /ws. (Contract 2.1, and ours: replay of numbered events.)"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

from aiohttp import WSMsgType, web

from backend.base.errors import BadInput
from backend.base.jsonable import loads
from backend.server import wire
from backend.server.hub import Client
from backend.server.replies import int_query
from backend.server.routes.core import features_of
from backend.server.state import State, state_of

routes = web.RouteTableDef()
MOST_INBOUND = 4 << 20
_REPLAY_PIECE = 200


@routes.get("/ws")
async def connect(request: web.Request) -> web.WebSocketResponse:
    """A socket. `since=N` asks for the numbered events after N that its client id has missed; `watch=1` for other clients' runs."""
    state = state_of(request)
    since = int_query(request, "since")
    sid = request.query.get("clientId") or uuid.uuid4().hex
    if len(sid) > 256:
        raise BadInput("The clientId is too long.", hint="Use at most 256 characters.")
    socket = web.WebSocketResponse(max_msg_size=MOST_INBOUND, compress=False, timeout=2.0)
    await socket.prepare(request)
    client = Client(socket, request.transport, state.client_id(request, sid) or sid)
    client.put(wire.status(len(state.queue), sid).frame())
    client.numbered = since is not None
    client.watching = request.query.get("watch") == "1" and not (state.settings.multi_user or state.accounts.users)
    if since is not None:
        client.held = []
    state.hub.add(client)
    _tell_running(state, client)
    replaying = asyncio.create_task(_replay(state, client, since)) if since is not None else None
    try:
        await _listen(state, client)
    finally:
        if replaying is not None:
            replaying.cancel()
        state.hub.remove(client)
        state.logs.subscribers.discard(client.sid)
        await client.close()
    return socket


def _tell_running(state: State, client: Client) -> None:
    for job, node in state.jobs.running:
        if job.client == client.sid and node is not None:
            client.put(wire.executing_now(node).frame())


async def _listen(state: State, client: Client) -> None:
    """Flags count only as the very first message; everything else a client says is ignored."""
    first = True
    async for message in client.socket:
        if first and message.type is WSMsgType.TEXT:
            flags = _flags(message.data)
            if flags is not None:
                client.metadata_previews = bool(flags.get("supports_preview_metadata"))
                answer = features_of(state)
                if flags.get("event_cursor"):
                    client.numbered = True
                    answer["event_cursor"] = state.jobs.log.last
                client.put(wire.features(answer).frame())
        first = False


def _flags(text: str) -> dict[str, Any] | None:
    with contextlib.suppress(BadInput):
        message = loads(text)
        if isinstance(message, dict) and message.get("type") == "feature_flags" and isinstance(message.get("data"), dict):
            data: dict[str, Any] = message["data"]
            return data
    return None


async def _replay(state: State, client: Client, since: int) -> None:
    """Old frames go out before the live ones that were held back meanwhile."""
    upto = state.jobs.log.last
    frames = await asyncio.to_thread(state.jobs.replay, since, None if client.watching else client.sid)
    held, client.held = client.held or [], None
    for at, (seq, frame) in enumerate(frames):
        if seq <= upto:
            client.put(frame)
        if at % _REPLAY_PIECE == 0:
            client.held = []
            await asyncio.sleep(0)
            held += client.held
            client.held = None
    client.held = held
    client.release()

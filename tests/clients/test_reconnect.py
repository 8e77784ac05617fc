"""What a real server rarely does: the socket breaks, events get lost. A scripted server plays it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from clients.python import emulsion_client
from clients.python.emulsion_client import AsyncClient, Client, JobCancelled, Unreachable

PICTURE = {"images": [{"filename": "a.png", "subfolder": "", "type": "output"}]}


class Script:
    """A server that plays: `sent` per socket (None closes it), histories by job, and remembers what clients asked."""

    def __init__(self) -> None:
        self.sockets: list[list[Any]] = []
        self.history: dict[str, Any] = {}
        self.since: list[str | None] = []
        self.hello: list[Any] = []
        self.posted: list[tuple[str, Any]] = []
        self.job = asyncio.Event()
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/ws", self.socket), web.post("/prompt", self.prompt), web.get("/queue", self.queue)])
        app.add_routes([web.get("/history/{id}", self.entry), web.post("/queue", self.post), web.post("/interrupt", self.post)])
        return app

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        self.since.append(request.query.get("since"))
        play = self.sockets.pop(0) if self.sockets else []
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.hello.append(json.loads((await ws.receive()).data))
        await self.job.wait()
        for item in play:
            if item is None:
                await ws.close()
                return ws
            await ws.send_str(json.dumps(item).replace("JOB", self.posted[0][1]["prompt_id"]))
        async for message in ws:
            if message.type is WSMsgType.ERROR:
                break
        return ws

    async def prompt(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.posted.append(("prompt", body))
        if "JOB" in self.history:
            self.history[body["prompt_id"]] = self.history.pop("JOB")
        self.job.set()
        return web.json_response({"prompt_id": body["prompt_id"], "number": 0, "node_errors": {}})

    async def queue(self, request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def entry(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        return web.json_response({id: self.history[id]} if id in self.history else {})

    async def post(self, request: web.Request) -> web.Response:
        self.posted.append((request.path, await request.json()))
        return web.Response()


@pytest.fixture
def script() -> Iterator[Script]:
    ready, loop = threading.Event(), asyncio.new_event_loop()
    played = Script()

    async def serve() -> None:
        runner = web.AppRunner(played.app(), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        played.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        played.stop = asyncio.Event()  # type: ignore[attr-defined]
        ready.set()
        await played.stop.wait()  # type: ignore[attr-defined]
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    assert ready.wait(10)
    yield played
    loop.call_soon_threadsafe(played.stop.set)  # type: ignore[attr-defined]
    thread.join(10)
    loop.close()


def done(kind: str = "execution_success") -> dict[str, Any]:
    return {"outputs": {"9": PICTURE}, "status": {"status_str": "success", "completed": True, "messages": [[kind, {}]]}}


def event(kind: str, seq: int | None = None, **data: Any) -> dict[str, Any]:
    return {"type": kind, "data": {"prompt_id": "JOB", **data}} | ({} if seq is None else {"seq": seq})


END = event("executing", node=None)


def test_events_arrive_in_order_until_the_job_ends(script: Script) -> None:
    script.history["JOB"] = done()
    script.sockets = [[event("execution_start"), {"type": "progress", "data": {"prompt_id": "another"}}, event("execution_success"), END]]
    with Client(script.url) as client:
        job = client.submit({"1": {"class_type": "X", "inputs": {}}}, targets=["1"], front=True)
        assert [e.type for e in job.events()] == ["execution_start", "execution_success", "executing"]
        assert [i.filename for i in job.images()] == ["a.png"]
    assert script.hello == [{"type": "feature_flags", "data": {"supports_preview_metadata": True, "event_cursor": True}}]
    body = script.posted[0][1]
    assert (body["client_id"], body["front"], body["partial_execution_targets"]) == (client.client_id, True, ["1"])
    assert "extra_data" not in body


def test_a_broken_socket_is_made_again_from_where_it_broke(script: Script) -> None:
    script.history["JOB"] = done()
    before = [event("execution_start", seq=41), event("executing", seq=42, node="1"), None]
    script.sockets = [before, [event("execution_success", seq=43), END]]
    with Client(script.url) as client:
        assert [e.type for e in client.submit({}).events()] == ["execution_start", "executing", "execution_success", "executing"]
    assert script.since == [None, "42"]


def test_an_end_that_was_missed_is_found_in_the_history(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulsion_client, "POLL", 0.05)
    script.history["JOB"] = done()
    with Client(script.url) as client:
        assert [i.filename for i in client.submit({}).images(timeout=10)] == ["a.png"]


def test_a_job_that_is_nowhere_was_cancelled(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulsion_client, "POLL", 0.05)
    with Client(script.url) as client, pytest.raises(JobCancelled):
        client.submit({}).wait(timeout=10)


def test_waiting_has_a_limit(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "_ended", lambda self, job: False)
    with Client(script.url) as client, pytest.raises(TimeoutError):
        client.submit({}).wait(timeout=0.2)


def test_a_server_that_stays_away_is_named(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulsion_client.time, "sleep", lambda seconds: None)
    with Client(script.url) as client:
        job = client.submit({})
        client.close()
        monkeypatch.setattr(client, "address", emulsion_client.Address("http://127.0.0.1:9"))
        with pytest.raises(Unreachable):
            job.wait()


def test_cancel_takes_it_out_of_the_queue_and_interrupts_it(script: Script) -> None:
    with Client(script.url) as client:
        job = client.submit({})
        job.cancel()
    assert script.posted[1:] == [("/queue", {"delete": [job.id]}), ("/interrupt", {"prompt_id": job.id})]


async def test_the_async_client_survives_the_same_break(script: Script) -> None:
    script.history["JOB"] = done()
    script.sockets = [[event("execution_start", seq=41), None], [event("execution_success", seq=43), END]]
    async with AsyncClient(script.url) as client:
        job = await client.submit({})
        assert [e.type async for e in job.events()] == ["execution_start", "execution_success", "executing"]
        assert [i.filename for i in await job.images()] == ["a.png"]
    assert script.since == [None, "41"]


async def test_two_async_jobs_share_one_socket(script: Script) -> None:
    async with AsyncClient(script.url) as client:
        first = await client.submit({})
        second = await client.submit({})
        for job in (first, second):
            script.history[job.id] = done()
            client._mail.sort(json.dumps({"type": "execution_start", "data": {"prompt_id": job.id}}))
            client._mail.sort(json.dumps({"type": "executing", "data": {"node": None, "prompt_id": job.id}}))
        images = await asyncio.gather(second.images(), first.images())
    assert [[i.filename for i in found] for found in images] == [["a.png"], ["a.png"]]

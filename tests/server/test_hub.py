from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from backend.server import hub as hub_module
from backend.server import wire
from backend.server.hub import Client, Hub


@asynccontextmanager
async def hub_server(remaining: Sequence[int] = (3,)) -> AsyncIterator[tuple[Hub, str]]:
    hub = Hub(lambda: remaining[-1])

    async def connect(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(compress=False)
        await socket.prepare(request)
        client = Client(socket, request.transport, request.query["clientId"])
        hub.add(client)
        try:
            async for _ in socket:
                pass
        finally:
            hub.remove(client)
            await client.close()
        return socket

    app = web.Application()
    app.router.add_get("/ws", connect)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield hub, f"http://127.0.0.1:{runner.addresses[0][1]}/ws?clientId="
    finally:
        await hub.close()
        await runner.cleanup()


async def settled(hub: Hub, n: int) -> None:
    for _ in range(200):
        if len(hub) == n:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(hub)} sockets instead of {n}")


async def received(socket: aiohttp.ClientWebSocketResponse, seconds: float = 0.3) -> list[Any]:
    got = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        try:
            got.append((await socket.receive(left)).json())
        except TimeoutError:
            break
    return got


async def test_status_costs_others_little_and_the_owner_nothing_is_kept_from() -> None:
    numbers = [3]
    async with hub_server(numbers) as (hub, url), aiohttp.ClientSession() as session:
        owner, other = await session.ws_connect(url + "owner"), await session.ws_connect(url + "other")
        await settled(hub, 2)
        for _ in range(100):
            hub.status("owner")
        assert len(await received(owner)) == 100
        assert len(await received(other)) == 1, "the number has not changed since"
        for left in range(100):
            numbers.append(left)
            hub.status("owner")
            await asyncio.sleep(0.002)
        got = [f["data"]["status"]["exec_info"]["queue_remaining"] for f in await received(other)]
        assert got[-1] == 99
        assert len(got) < 20
        await owner.close(), await other.close()


async def test_newest_socket_of_an_id_is_served_and_older_ones_take_over() -> None:
    async with hub_server() as (hub, url), aiohttp.ClientSession() as session:
        old = await session.ws_connect(url + "a")
        await settled(hub, 1)
        new = await session.ws_connect(url + "a")
        await settled(hub, 2)
        hub.send("a", wire.message("one", 1))
        assert [f["type"] for f in await received(new)] == ["one"]
        await new.close()
        await settled(hub, 1)
        hub.send("a", wire.message("two", 2))
        assert [f["type"] for f in await received(old)] == ["two"]
        await old.close()


async def test_socket_that_never_reads_is_dropped_and_others_are_served(monkeypatch: Any) -> None:
    monkeypatch.setattr(hub_module, "MOST_QUEUED", 1 << 20)
    async with hub_server() as (hub, url), aiohttp.ClientSession() as session:
        good = await session.ws_connect(url + "good", max_msg_size=0)
        host, port = url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(
            b"GET /ws?clientId=slow HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await reader.readline()
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        await settled(hub, 2)
        big = "x" * 100_000
        count = 0
        for _ in range(200):
            hub.send("slow", wire.message("big", big))
            hub.send("good", wire.message("small", 1))
            count += 1
            await asyncio.sleep(0)
        await settled(hub, 1)
        got = [f for f in await received(good, 1.0) if f["type"] == "small"]
        assert len(got) == count
        writer.close()
        await good.close()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
async def test_frames_of_every_size_arrive(size: int) -> None:
    async with hub_server() as (hub, url), aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url + "a", max_msg_size=0)
        await settled(hub, 1)
        client = hub.find("a")
        assert client is not None
        for kind in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            client.put(b"x" * size, kind)
        got = [await socket.receive(5) for _ in range(3)]
        assert [(m.type, len(m.data)) for m in got] == [(k, size) for k in (1, 2, 1)]
        assert client.queued == 0
        await socket.close()


async def test_frames_wait_while_older_ones_are_told() -> None:
    async with hub_server() as (hub, url), aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url + "a")
        await settled(hub, 1)
        client = hub.find("a")
        assert client is not None
        client.held = []
        hub.send("a", wire.message("live", 1))
        assert await received(socket, 0.1) == []
        held, client.held = client.held, None
        client.put(json.dumps({"type": "old"}).encode())
        client.held = held
        client.release()
        assert [f["type"] for f in await received(socket)] == ["old", "live"]
        await socket.close()


async def test_who_watches_hears_of_the_runs_of_others_but_not_what_a_pack_says_to_one_page() -> None:
    async with hub_server() as (hub, url), aiohttp.ClientSession() as session:
        owner, watcher = await session.ws_connect(url + "owner"), await session.ws_connect(url + "watcher")
        await settled(hub, 2)
        watching = hub.find("watcher")
        assert watching is not None
        hub.remove(watching)
        watching.watching = True
        hub.add(watching)
        hub.send("owner", wire.message("executed", {"node": "1"}))
        hub.send("owner", wire.message("pack.says", {}, wire.CLIENT_ALONE))
        assert [m["type"] for m in await received(owner)] == ["executed", "pack.says"]
        assert [m["type"] for m in await received(watcher)] == ["executed"]
        hub.send("watcher", wire.message("executed", {"node": "2"}))
        assert len(await received(watcher)) == 1, "its own frames come once"
        assert await received(owner) == []

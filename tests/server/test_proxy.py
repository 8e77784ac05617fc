"""What reaches the routes of node packs, and what does not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
from aiohttp import web

from backend.server import proxy
from backend.server.state import STATE


async def served(app: web.Application) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_packs_get_the_request_but_no_token() -> None:
    seen: dict[str, Any] = {}

    async def pack(request: web.Request) -> web.Response:
        seen.update(path=request.raw_path, headers=dict(request.headers), body=await request.text())
        return web.Response(text="hello", headers={"X-Pack": "1"})

    worker = web.Application()
    worker.router.add_route("*", "/{tail:.*}", pack)
    inner, address = await served(worker)
    app = web.Application(middlewares=[proxy.middleware()])
    told = {"address": address, "secret": "between-us", "routes": [["POST", "/mine/.*"]]}
    app[STATE] = SimpleNamespace(hello={"pack_routes": told})  # type: ignore[assignment]
    front, url = await served(app)
    headers = {"Authorization": "Bearer word", "Cookie": "token=word", "X-Mine": "yes", proxy.SECRET_HEADER: "guess"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/mine/a%20b?x=1&token=word&y=%26", data="body", headers=headers) as reply,
    ):
        assert (reply.status, await reply.text(), reply.headers["X-Pack"]) == (200, "hello", "1")
    await front.cleanup()
    await inner.cleanup()
    assert seen["path"] == "/mine/a%20b?x=1&y=%26"
    assert seen["body"] == "body"
    assert seen["headers"]["X-Mine"] == "yes"
    assert seen["headers"][proxy.SECRET_HEADER] == "between-us"
    assert "word" not in str(seen)

"""Routes that packs declare on PromptServer.instance are served here, beside the state they touch, on a socket only the front knows."""

from __future__ import annotations

import asyncio
import hmac
import importlib
import logging
import os
import re
import secrets
import sys
import tempfile
import threading
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler

log = logging.getLogger(__name__)
HEADER = "X-Emulsion-Front"
"""Carries the secret that tells the front from everybody else."""


class Loop:
    """An event loop on a thread of its own, begun when first asked for."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()

    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="pack routes", daemon=True).start()
            return self._loop

    def run(self, coroutine: Coroutine[Any, Any, Any], timeout: float = 30.0) -> Any:
        """Run a coroutine there and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop()).result(timeout)


LOOP = Loop()


def serve() -> dict[str, Any] | None:
    """Serve what packs have declared in the published module `server`: where, and which paths; None when they have declared nothing."""
    instance = importlib.import_module("server").PromptServer.instance
    app: web.Application = instance.app
    for route in instance.routes:
        try:
            route.register(app.router)
        except (ValueError, RuntimeError) as error:  # a path declared twice, a broken pattern: the others are served
            log.warning("A route of a node pack is left out: %s", error)
    listed = _listed(app)
    if not listed:
        return None
    secret = secrets.token_hex(16)
    app.middlewares.append(_front_only(secret))
    address = LOOP.run(_start(app))
    return {"address": address, "secret": secret, "routes": listed}


def _listed(app: web.Application) -> list[list[str]]:
    """[method, pattern] of every route; a pattern is a regular expression for the whole path."""
    found = []
    for resource in app.router.resources():
        info = resource.get_info()
        if "path" in info:
            pattern = _escaped(info["path"])
        elif "pattern" in info:
            pattern = info["pattern"].pattern
        else:
            pattern = _escaped(str(info.get("prefix", ""))) + "/.*"
        found += [[route.method, pattern] for route in resource]
    return found


def _escaped(text: str) -> str:
    return re.escape(text)


def _front_only(secret: str) -> Any:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not hmac.compare_digest(request.headers.get(HEADER, ""), secret):
            return web.Response(status=403)
        return await handler(request)

    return guard


async def _start(app: web.Application) -> str:
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    if sys.platform == "win32":
        site: web.BaseSite = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"
    directory = tempfile.mkdtemp(prefix="emulsion-")  # only this user can enter it
    path = os.path.join(directory, "packs")
    site = web.UnixSite(runner, path)
    await site.start()
    return path

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import urllib.request
from pathlib import Path

import pytest
from aiohttp import web

from backend.base.errors import BadFile, MissingFile, Refused
from backend.server import tls


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed: no certificate can be made")
    home = tmp_path_factory.mktemp("tls")
    cert, key = home / "cert.pem", home / "key.pem"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    more = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*made, *more], check=True, capture_output=True)
    return cert, key


async def test_it_serves_https(pair: tuple[Path, Path]) -> None:
    async def hello(request: web.Request) -> web.Response:
        return web.Response(text=str(request.secure))

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls.context(*pair)).start()
    port = runner.addresses[0][1]
    trusting = ssl.create_default_context(cafile=str(pair[0]))

    def ask() -> bytes:
        with urllib.request.urlopen(f"https://127.0.0.1:{port}/", context=trusting, timeout=10) as reply:
            said: bytes = reply.read()
        return said

    assert await asyncio.to_thread(ask) == b"True"
    await runner.cleanup()


def test_what_cannot_be_used_is_a_sentence(pair: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = pair
    assert tls.context(None, None) is None
    with pytest.raises(Refused):
        tls.context(None, key)
    with pytest.raises(MissingFile):
        tls.context(tmp_path / "none.pem", key)
    with pytest.raises(BadFile):
        tls.context(key, cert)
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-aes128", "-passout", "pass:word", "-in", str(key), "-out", str(locked)], check=True, capture_output=True
    )
    with pytest.raises(BadFile):
        tls.context(cert, locked)

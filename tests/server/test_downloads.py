"""Model files from a server of our own that breaks off, redirects and lies."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from backend.base.errors import BadInput, Problem, Refused
from backend.base.paths import Folders
from backend.server.downloads import Downloads, PublicResolver, is_public
from backend.storage.userdata import AlreadyThere

BODY = bytes(range(256)) * 4096
HASH = hashlib.sha256(BODY).hexdigest()
Start = Callable[..., Downloads]


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    app = web.Application()
    breaks = {"left": 2}

    async def whole(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BODY, headers={"ETag": '"1"'})

    async def breaking(request: web.Request) -> web.StreamResponse:
        """Half of what is left, then nothing; understands ranges."""
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        if start:
            assert request.headers["If-Range"] == '"1"'
        response = web.StreamResponse(status=206 if start else 200, headers={"ETag": '"1"', "Content-Length": str(len(BODY) - start)})
        await response.prepare(request)
        breaks["left"] -= 1
        rest = BODY[start:]
        await response.write(rest if breaks["left"] < 0 else rest[: len(rest) // 2])
        if breaks["left"] >= 0:
            assert request.transport is not None
            await asyncio.sleep(0.05)
            request.transport.close()
        return response

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(len(BODY)), "ETag": '"1"'})
        await response.prepare(request)
        await response.write(BODY[:1000])
        await asyncio.sleep(60)
        return response

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query["to"])

    for path, handler in (("/whole", whole), ("/breaking", breaking), ("/slow", slow), ("/to", elsewhere)):
        app.router.add_get(path, handler)
    async with TestServer(app, host="127.0.0.1") as one:
        yield one


@pytest.fixture
async def downloads(tmp_path: Path) -> AsyncIterator[Downloads]:
    only_here = lambda address: address == "127.0.0.1"  # noqa: E731
    made = Downloads(Folders.of(tmp_path), ("127.0.0.1",), print, schemes=("http",), allowed=only_here, pause_s=0.0)
    yield made
    await made.close()


def files(home: Path) -> list[str]:
    return sorted(p.name for p in (home / "models" / "vae").glob("*")) if (home / "models" / "vae").exists() else []


async def test_a_file_appears_when_it_is_whole(server: TestServer, downloads: Downloads, tmp_path: Path) -> None:
    d = downloads.start(str(server.make_url("/whole")), "vae", "a.safetensors", HASH.upper())
    assert d.task is not None
    await d.task
    assert (d.state, d.received, d.total, d.sha256) == ("done", len(BODY), len(BODY), HASH)
    assert (tmp_path / "models" / "vae" / "a.safetensors").read_bytes() == BODY
    assert files(tmp_path) == ["a.safetensors"]
    with pytest.raises(AlreadyThere):
        downloads.start(str(server.make_url("/whole")), "vae", "a.safetensors")


async def test_a_broken_connection_is_taken_up_where_it_broke(server: TestServer, downloads: Downloads, tmp_path: Path) -> None:
    d = downloads.start(str(server.make_url("/breaking")), "vae", "b.safetensors", HASH)
    assert d.task is not None
    await d.task
    assert d.state == "done", d.error
    assert (tmp_path / "models" / "vae" / "b.safetensors").read_bytes() == BODY


async def test_a_wrong_hash_leaves_nothing(server: TestServer, downloads: Downloads, tmp_path: Path) -> None:
    d = downloads.start(str(server.make_url("/whole")), "vae", "a.safetensors", "0" * 64)
    assert d.task is not None
    await d.task
    assert d.state == "failed"
    assert HASH in d.error
    assert files(tmp_path) == []


async def test_a_cancelled_one_leaves_no_file_under_its_name(server: TestServer, downloads: Downloads, tmp_path: Path) -> None:
    d = downloads.start(str(server.make_url("/slow")), "vae", "a.safetensors")
    while d.received == 0:
        await asyncio.sleep(0.01)
    with pytest.raises(AlreadyThere):
        downloads.start(str(server.make_url("/slow")), "vae", "a.safetensors")
    downloads.cancel(d.id)
    assert d.task is not None
    await asyncio.gather(d.task, return_exceptions=True)
    assert d.state == "cancelled"
    assert files(tmp_path) == [".a.safetensors.part", ".a.safetensors.part.json"]
    with pytest.raises(Problem):
        downloads.cancel("unknown")


@pytest.mark.parametrize(
    "to",
    [
        "http://127.0.0.2/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "file:///etc/passwd",
        "http://localhost.localdomain/",
    ],
)
async def test_redirects_to_private_places_are_refused(server: TestServer, downloads: Downloads, tmp_path: Path, to: str) -> None:
    d = downloads.start(str(server.make_url("/to").with_query(to=to)), "vae", "a.safetensors")
    assert d.task is not None
    await d.task
    assert d.state == "failed"
    assert files(tmp_path) == []


async def test_an_endless_redirect_ends(server: TestServer, downloads: Downloads) -> None:
    url = server.make_url("/to")
    d = downloads.start(str(url.with_query(to="/to?to=/to?to=x")), "vae", "a.safetensors")
    assert d.task is not None
    await d.task
    assert d.state == "failed"


@pytest.mark.parametrize(
    ("url", "kind", "name"),
    [
        ("https://169.254.169.254/latest", "vae", "a.safetensors"),
        ("https://127.0.0.1/x", "vae", "a.safetensors"),
        ("https://[::ffff:127.0.0.1]/x", "vae", "a.safetensors"),
        ("https://evil.example/x", "vae", "a.safetensors"),
        ("https://huggingface.co.evil.example/x", "vae", "a.safetensors"),
        ("https://evilhuggingface.co/x", "vae", "a.safetensors"),
        ("http://huggingface.co/x", "vae", "a.safetensors"),
        ("file:///etc/passwd", "vae", "a.safetensors"),
        ("https://user:pass@huggingface.co/x", "vae", "a.safetensors"),
        ("https://huggingface.co:port/x", "vae", "a.safetensors"),
        ("https://huggingface.co/x", "nothing", "a.safetensors"),
        ("https://huggingface.co/x", "vae", "a.exe"),
        ("https://huggingface.co/x", "vae", "../a.safetensors"),
        ("https://huggingface.co/x", "vae", "/etc/a.safetensors"),
        ("https://huggingface.co/x", "vae", "CON.safetensors"),
        ("https://huggingface.co/x", "vae", "a:b.safetensors"),
        ("https://huggingface.co/x", "vae", ""),
        ("https://huggingface.co/x", "custom_nodes", "a.py"),
    ],
)
async def test_what_is_refused_before_anything_is_asked(tmp_path: Path, url: str, kind: str, name: str) -> None:
    made = Downloads(Folders.of(tmp_path), ("huggingface.co",), print)
    with pytest.raises((Refused, BadInput)):
        made.start(url, kind, name)
    with pytest.raises(BadInput):
        made.start("https://huggingface.co/x", "vae", "a.safetensors", "no hash")
    assert made.known == {}


def test_public_addresses() -> None:
    public = ("8.8.8.8", "2606:4700::1111")
    private = (
        "127.0.0.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "::1",
        "fe80::1%eth0",
        "fd00::1",
    )
    tricky = ("::ffff:127.0.0.1", "2002:7f00:0001::", "224.0.0.1", "255.255.255.255", "not an address")
    assert all(is_public(a) for a in public)
    assert not any(is_public(a) for a in private + tricky)


async def test_names_that_resolve_to_this_machine_are_refused() -> None:
    resolver = PublicResolver()
    with pytest.raises(OSError, match="no public address"):
        await resolver.resolve("localhost", 80)
    await resolver.close()


async def test_a_small_file_is_read_under_the_same_rules(server: TestServer, downloads: Downloads) -> None:
    whole = str(server.make_url("/whole"))
    assert await downloads.read(str(server.make_url("/to").with_query(to=whole)), len(BODY)) == BODY
    with pytest.raises(Problem, match="more than"):
        await downloads.read(whole, len(BODY) - 1)
    with pytest.raises(Problem, match="404"):
        await downloads.read(str(server.make_url("/nothing")), 10)
    with pytest.raises(Refused):
        await downloads.read(str(server.make_url("/to").with_query(to="http://10.0.0.1/x")), 10)
    with pytest.raises(Refused):
        await downloads.read("http://other.invalid/x", 10)

from __future__ import annotations

import pytest

from backend.server.security import host_allowed, host_of, origin_allowed


@pytest.mark.parametrize(
    ("origin", "host", "ok"),
    [
        ("http://127.0.0.1:8188", "127.0.0.1:8188", True),
        ("http://LOCALHOST:8188", "localhost:8188", True),
        ("http://[::1]:8188", "[::1]:8188", True),
        ("http://example.org", "example.org", True),
        ("https://example.org", "example.org:443", True),
        ("http://example.org", "example.org:8188", False),
        ("http://127.0.0.1:8189", "127.0.0.1:8188", False),
        ("http://localhost:8188", "127.0.0.1:8188", False),
        ("http://127.0.0.1:8188.evil.example", "127.0.0.1:8188", False),
        ("http://evil.example", "127.0.0.1:8188", False),
        ("null", "127.0.0.1:8188", False),
        ("", "127.0.0.1:8188", False),
        ("file://", "127.0.0.1:8188", False),
        ("http://127.0.0.1:port", "127.0.0.1:8188", False),
    ],
)
def test_origins(origin: str, host: str, ok: bool) -> None:
    assert origin_allowed(origin, host) is ok


@pytest.mark.parametrize(
    ("host", "listen", "ok"),
    [
        ("127.0.0.1:8188", ("127.0.0.1",), True),
        ("localhost", ("127.0.0.1",), True),
        ("app.localhost:1", ("::1",), True),
        ("127.1.2.3", ("127.0.0.1",), True),
        ("evil.example", ("127.0.0.1",), False),
        ("", ("127.0.0.1",), False),
        ("[::1", ("127.0.0.1",), False),
        ("localhost.evil.example", ("127.0.0.1",), False),
        ("studio.lan", ("0.0.0.0", "::"), True),
    ],
)
def test_hosts(host: str, listen: tuple[str, ...], ok: bool) -> None:
    assert host_allowed(host, listen) is ok


def test_host_names() -> None:
    assert [host_of(n) for n in ("A.b:1", "[::1]:2", "[", "")] == ["a.b", "::1", "", ""]

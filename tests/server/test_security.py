from __future__ import annotations

import pytest

from backend.server.access import Role
from backend.server.security import host_allowed, host_of, origin_allowed, role_needed


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
        ("studio.lan", ("0.0.0.0", "::"), False),
        ("192.168.1.4:8188", ("0.0.0.0",), True),
        ("192.168.1.4:8188", ("127.0.0.1",), False),
    ],
)
def test_hosts(host: str, listen: tuple[str, ...], ok: bool) -> None:
    assert host_allowed(host, listen) is ok


def test_host_names() -> None:
    assert [host_of(n) for n in ("A.b:1", "[::1]:2", "[", "")] == ["a.b", "::1", "", ""]


def test_names_that_were_allowed() -> None:
    assert host_allowed("Studio.lan:8188", ("0.0.0.0",), ("studio.lan",))
    assert not host_allowed("other.lan", ("0.0.0.0",), ("studio.lan",))


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/queue", Role.VIEWER),
        ("GET", "/api/history", Role.VIEWER),
        ("POST", "/settings/a", Role.VIEWER),
        ("POST", "/prompt", Role.EDITOR),
        ("POST", "/api/prompt", Role.EDITOR),
        ("DELETE", "/userdata/a", Role.EDITOR),
        ("POST", "/some/route/of/a/pack", Role.EDITOR),
        ("POST", "/free", Role.ADMIN),
        ("POST", "/api/queue/pause", Role.ADMIN),
        ("GET", "/internal/logs", Role.ADMIN),
        ("GET", "/audit", Role.ADMIN),
    ],
)
def test_roles(method: str, path: str, role: Role) -> None:
    assert role_needed(method, path) is role

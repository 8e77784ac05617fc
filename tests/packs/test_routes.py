"""Routes of packs over a real server: answered where the pack lives, passed on by the front, and none of the application's taken over."""

from __future__ import annotations

import io
import json
import shutil
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.base.config import parse
from backend.base.paths import Folders
from backend.server.access import Accounts, Role
from backend.server.routes.packs import why_not
from backend.server.security import role_needed
from tests.conftest import start_server
from tests.packs.home import MODELLED, node


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("packs")
    (home / "base" / "models").mkdir(parents=True)
    shutil.copytree(MODELLED / "routes_and_widget", home / "base" / "custom_nodes" / "routes_and_widget")
    (home / "base" / "custom_nodes" / "needs_more").mkdir()
    (home / "base" / "custom_nodes" / "needs_more" / "__init__.py").write_text("import no_such_package_here.part\n")
    sockets = home / "sockets"
    sockets.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(sockets))
        server = start_server(home, "--cpu", "--base-directory", str(home / "base"), "--allow-pack-changes")
    with server:
        assert [p.name for p in sockets.glob("emulsion-*/packs")] == ["packs"]
        yield server.url
    assert not list(sockets.glob("emulsion-*/packs")), "what the worker left in the temporary directory is tidied up"


def ask(url: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            text = reply.read().decode()
            return reply.status, json.loads(text) if reply.headers.get_content_type() == "application/json" else text
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def send(url: str, file: str, data: bytes, **fields: str) -> tuple[int, Any]:
    """Upload a pack as a page does."""
    parts = [f'--=\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    head = f'--=\r\nContent-Disposition: form-data; name="pack"; filename="{file}"\r\n\r\n'.encode()
    body = b"".join([*parts, head, data, b"\r\n--=--\r\n"])
    request = urllib.request.Request(f"{url}/packs/install", body, {"Content-Type": "multipart/form-data; boundary=="})
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_packs_are_changed_over_the_network_where_that_is_allowed(url: str) -> None:
    ready(url)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("sent/__init__.py", "NODE_CLASS_MAPPINGS = {}")
    assert send(url, "sent.zip", file.getvalue()) == (200, {"name": "sent", "changes": []})
    status, said = send(url, "sent.zip", file.getvalue())
    assert status == 403 and "already" in said
    assert send(url, "sent.zip", file.getvalue(), update="true")[0] == 200
    rows = {p["name"]: p for p in ask(f"{url}/packs/sent/disable", {})[1]["packs"]}
    assert rows["sent"] == {"name": "sent", "on": False, "pinned": False, "version": None, "earlier": True}
    assert ask(f"{url}/packs/installed")[1]["changes"] is True
    for name, data, words in (
        ("../up.zip", file.getvalue(), "already"),
        ("x.zip", b"PK", "unpacked"),
        ("x.exe", b"", "neither"),
        (".zip", b"", ""),
    ):
        status, said = send(url, name, data, name="sent" if words == "already" else "")
        assert 400 <= status < 500 and words in said, (name, status, said)
    assert ask(f"{url}/packs/absent/pin", {})[0] == 404 == ask(f"{url}/packs/sent/explode", {})[0]
    assert ask(f"{url}/packs/install", {})[0] == 400


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "not started with"),
        (["--allow-pack-changes", "--listen", "0.0.0.0"], "without a token"),
        (["--allow-pack-changes", "--listen", "0.0.0.0", "--token", "a-long-enough-token"], None),
        (["--allow-pack-changes"], None),
    ],
)
def test_when_packs_may_be_changed(flags: list[str], words: str | None, tmp_path: Path) -> None:
    settings = parse(flags)
    state: Any = SimpleNamespace(settings=settings, accounts=Accounts.of(settings, Folders.of(tmp_path)))
    why = why_not(state)
    assert (why is None) if words is None else words in (why or "")
    assert role_needed("POST", "/api/packs/install") is Role.ADMIN


def ready(url: str) -> None:
    """Wait until the worker has told of its packs."""
    end = time.monotonic() + 60
    while not ask(f"{url}/packs")[1]:
        assert time.monotonic() < end
        time.sleep(0.1)


def test_routes_packs_and_jobs(url: str) -> None:
    ready(url)
    packs = {p["name"]: p for p in ask(f"{url}/packs")[1]}
    assert packs["routes_and_widget"]["error"] is None and packs["routes_and_widget"]["nodes"] == ["ModelledGreet"]
    assert packs["needs_more"]["missing"] == "no_such_package_here"
    assert "/extensions/routes_and_widget/greet.js" in ask(f"{url}/extensions")[1]
    assert "registerExtension" in ask(f"{url}/extensions/routes_and_widget/greet.js")[1]

    assert ask(f"{url}/modelled/state")[1]["greeting"] == "hello" == ask(f"{url}/api/modelled/state")[1]["greeting"]
    assert ask(f"{url}/modelled/state/greeting", {"value": "good day"}) == (200, {"ok": True})
    assert ask(f"{url}/modelled/state")[1]["greeting"] == "good day"
    assert ask(f"{url}/modelled/upload-size?n=21")[1] == {"size": 42}
    assert ask(f"{url}/modelled/stream")[1] == "0\n1\n2\n"
    assert ask(f"{url}/modelled/raises")[0] == 500 and ask(f"{url}/modelled/none")[0] == 404
    assert "queue_running" in ask(f"{url}/queue")[1], "a pack took over a route of the application"

    status, accepted = ask(f"{url}/prompt", {"prompt": {"1": node("ModelledGreet", name="nobody")}})
    assert status == 200, accepted
    end = time.monotonic() + 30
    while not (history := ask(f"{url}/history/{accepted['prompt_id']}")[1]):
        assert time.monotonic() < end
        time.sleep(0.05)
    assert history[accepted["prompt_id"]]["outputs"]["1"]["text"] == ["good day somebody"]
    assert ask(f"{url}/modelled/state")[1]["jobs"] == 1

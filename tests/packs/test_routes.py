"""Routes of packs over a real server: answered where the pack lives, passed on by the front, and none of the application's taken over."""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import start_server
from tests.packs.home import MODELLED, node


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("packs")
    (home / "base" / "models").mkdir(parents=True)
    shutil.copytree(MODELLED / "routes_and_widget", home / "base" / "custom_nodes" / "routes_and_widget")
    (home / "base" / "custom_nodes" / "needs_more").mkdir()
    (home / "base" / "custom_nodes" / "needs_more" / "__init__.py").write_text("import no_such_package_here.part\n")
    with start_server(home, "--cpu", "--base-directory", str(home / "base")) as server:
        yield server.url


def ask(url: str, body: Any = None, method: str | None = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"} if data else {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:
            text = reply.read().decode()
            return reply.status, json.loads(text) if reply.headers.get_content_type() == "application/json" else text
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


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

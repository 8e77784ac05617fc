"""Workflow files that are cut off, huge, circular or hostile, sent to a running server: answered in a sentence, while others are served."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from tests.e2e.wiretap import Json, Server
from tests.faults.ask import still_works
from tests.faults.files.test_files import text_bomb

pytestmark = pytest.mark.slow
MB = 1 << 20
EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"


def editor(id: int, type: str, sources: tuple[int, ...] = (), **more: Any) -> Json:
    """A node of the editor's form; `sources` are links by their number."""
    inputs = [{"name": f"i{k}", "type": "*", "link": link} for k, link in enumerate(sources)]
    return {
        "id": id,
        "type": type,
        "pos": [0, 0],
        "size": [9, 9],
        "mode": 0,
        "inputs": inputs,
        "outputs": [{"name": "o", "type": "*"}],
        **more,
    }


def workflow(nodes: list[Json], links: list[list[Any]]) -> Json:
    return {"version": 0.4, "nodes": nodes, "links": links, "last_node_id": len(nodes), "last_link_id": len(links), "extra": {}}


def while_it_runs(server: Server, body: bytes | Json) -> tuple[int, Any]:
    """Send a workflow for conversion; other requests are answered before it is."""
    found: list[Any] = []
    sender = threading.Thread(target=lambda: found.append(server.ask("/workflow/convert", body)))
    sender.start()
    assert server.ask("/queue").status == 200
    while sender.is_alive():
        assert server.ask("/queue").status == 200
    sender.join()
    return found[0].status, found[0].json()


def test_huge_cut_off_circular_and_hostile_workflows(server: Server) -> None:
    chain = workflow(
        [editor(i, "TestAdd", (i - 1,) if i else (), widgets_values=[1, 2], title=EVIL) for i in range(10_000)],
        [[i, i, 0, i + 1, 0, "INT"] for i in range(9_999)],
    )
    status, made = while_it_runs(server, chain)
    assert status == 200 and len(made["prompt"]) == 10_000 and made["prompt"]["7"]["_meta"]["title"] == EVIL

    circle = workflow([editor(0, "TestAdd", (1,)), editor(1, "TestAdd", (0,))], [[0, 0, 0, 1, 0, "INT"], [1, 1, 0, 0, 0, "INT"]])
    status, made = while_it_runs(server, circle)
    assert status == 200 and made["prompt"].keys() == {"0", "1"}
    refused = server.ask("/prompt", {"prompt": {**made["prompt"], "2": {"class_type": "TestShow", "inputs": {"a": ["0", 0]}}}})
    assert refused.status == 400
    reroutes = workflow([editor(0, "Reroute", (1,)), editor(1, "Reroute", (0,)), editor(2, "TestShow", (0,))], circle["links"])
    status, made = while_it_runs(server, reroutes)
    assert status == 400 and made["error"]["message"]

    large = json.dumps(workflow([editor(0, "TestAdd", properties={"notes": "word " * (10 * MB)})], [])).encode()
    assert len(large) > 50 * MB
    status, made = while_it_runs(server, large)
    assert status == 200 and made["prompt"].keys() == {"0"}
    for body in (large[:-1], large[: 25 * MB], text_bomb(), b"\x89PNG\r\n\x1a\n" + large):
        status, made = while_it_runs(server, body)
        assert status == 422 and made["error"]["message"].endswith("."), made
    still_works(server)

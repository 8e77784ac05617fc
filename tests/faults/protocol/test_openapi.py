"""The API as it describes itself, and what strangers can send to it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.wiretap import Server, node
from tests.faults.ask import SEEDS, ended, quick, still_works

pytestmark = pytest.mark.slow


def test_the_description_names_every_route_and_is_sound(server: Server) -> None:
    described = server.ask("/openapi.json").json()
    assert described["openapi"] == "3.1.0"
    operations = [op for path in described["paths"].values() for op in path.values()]
    ids = [op["operationId"] for op in operations]
    assert len(set(ids)) == len(ids)
    assert all(op["summary"] for op in operations)
    for path, methods in described["paths"].items():
        for op in methods.values():
            assert re.findall(r"\{(\w+)\}", path) == [p["name"] for p in op["parameters"] if p["in"] == "path"]
    limit = [p for p in described["paths"]["/queue"]["get"]["parameters"] if p["name"] == "limit"]
    assert limit == [{"name": "limit", "in": "query", "schema": {"type": "integer"}}]
    documented = Path(__file__).resolve().parents[3].joinpath("docs/api.md").read_text()
    for path in ("/queue/pause", "/queue/reorder", "/downloads", "/metrics", "/openapi.json", "/jobs/{id}/trace"):
        assert path in described["paths"]
        assert path in documented


def test_strangers_cannot_make_the_server_fail(server: Server) -> None:
    """Schemathesis draws requests from the description; none may be answered with 5xx, nor harm what comes after."""
    import hypothesis
    import schemathesis

    schema = schemathesis.openapi.from_dict(server.ask("/openapi.json").json())
    tried = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        if operation.path in ("/ws", "/downloads"):
            continue

        @hypothesis.given(case=operation.as_strategy())
        @hypothesis.settings(
            max_examples=6, deadline=None, database=None, derandomize=True, suppress_health_check=list(hypothesis.HealthCheck)
        )
        def attack(case: object) -> None:
            nonlocal tried
            tried += 1
            response = case.call(base_url=server.url, timeout=60)  # type: ignore[attr-defined]
            where = f"{response.request.method} {response.request.url}"
            assert response.status_code < 500 or response.status_code == 503, f"{where}: {response.status_code} {response.text[:300]}"

        attack()
    assert tried > 100
    server.ask("/queue/resume", {})
    server.ask("/queue", {"clear": True})
    still_works(server)


def test_figures_and_timeline(server: Server) -> None:
    id = server.submit(quick())
    ended(server, id)
    text = server.ask("/metrics").body.decode()
    figures = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(figures['emulsion_jobs_total{state="success"}']) >= 1
    assert figures["emulsion_worker_ready"] == "1"
    assert 0 <= float(figures['emulsion_worker_start_seconds{part="packs"}']) < float(figures['emulsion_worker_start_seconds{part="all"}'])
    assert any(name.startswith('emulsion_http_requests_total{method="POST"') for name in figures)
    for name in figures:
        assert re.fullmatch(r'emulsion_[a-z_]+(\{\w+="[^"]*"(,\w+="[^"]*")*\})?', name)
    timeline = json.loads(server.ask(f"/jobs/{id}/trace").body)["traceEvents"]
    assert {"waiting", "run", "TestShow 1"} <= {e["name"] for e in timeline}
    image = node("EmptyImage", width=8, height=8, batch_size=1, color=next(SEEDS) % 0xFFFFFF)
    id = server.submit({"1": image, "2": node("SaveImage", images=["1", 0], filename_prefix="timed")})
    ended(server, id)
    timeline = json.loads(server.ask(f"/jobs/{id}/trace").body)["traceEvents"]
    (save,) = [e for e in timeline if e["name"] == "save timed_00001_.png"]
    (run,) = [e for e in timeline if e["name"] == "run"]
    assert run["ts"] - 1e3 <= save["ts"] and save["ts"] + save["dur"] <= run["ts"] + run["dur"] + 2e3
    assert server.ask(f"/jobs/nothing{next(SEEDS)}/trace").status == 404


def test_ready_means_that_the_device_computes(server: Server) -> None:
    about = server.ask("/health/ready").json()
    assert about["ready"]
    assert "problem" not in about

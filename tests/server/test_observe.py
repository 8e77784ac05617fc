from __future__ import annotations

import io
import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from backend.base.config import VERSION
from backend.server.logs import LogRing
from backend.server.trace import trace


def test_the_version_is_the_projects() -> None:
    project = tomllib.loads((Path(__file__).resolve().parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


def test_a_timeline_has_the_queue_the_run_and_each_node() -> None:
    about = {"id": "j", "state": "success", "created": 10.0, "finished": 13.5, "attempts": 1}
    story: list[dict[str, Any]] = [
        {"event": "RunStarted", "time": 11_000},
        {"event": "NodeFinished", "node": "1", "seconds": 0.5},
        {"event": "NodeFinished", "node": "2.0.0.1", "seconds": 1.0},
        {"event": "RunSucceeded", "time": 13_000},
    ]
    made = trace(about, story, {"1": "Load", "2": "Expand"})["traceEvents"]
    spans = [(e["name"], e["ts"], e["dur"]) for e in made if e["ph"] == "X"]
    assert spans == [
        ("waiting", 10_000_000, 1_000_000),
        ("run", 11_000_000, 2_000_000),
        ("Load 1", 11_000_000, 500_000),
        ("Expand 2.0.0.1", 11_500_000, 1_000_000),
        ("history", 13_000_000, 500_000),
    ]
    assert [e for e in trace({**about, "finished": None}, [], {})["traceEvents"] if e["ph"] == "X"] == []


def test_lines_of_the_log_may_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(sys, "stderr", out)
    ring = LogRing(as_objects=True)
    ring.write('a "quoted"\nline')
    ring.close()
    (line,) = out.getvalue().splitlines()
    assert json.loads(line)["message"] == 'a "quoted"\nline'

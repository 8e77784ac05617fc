from __future__ import annotations

from pathlib import Path

import pytest

from backend.base import events as ev
from backend.engine.job import Job
from backend.graph.document import Prompt
from tests.e2e.wiretap import Server
from tests.faults.ask import ended, eventually, long, quick, state, still_works
from tests.faults.soak.oom_points import Machine, graph

pytestmark = pytest.mark.slow


def test_cancelling_one_job_leaves_the_running_one_alone(server: Server) -> None:
    running = server.submit(long())
    eventually(lambda: state(server, running) == "running")
    waiting, gone = server.submit(quick()), server.submit(quick())
    server.ask("/interrupt", {"prompt_id": waiting})
    server.ask("/interrupt", {"prompt_id": "nobody"})
    assert server.ask(f"/jobs/{gone}", method="DELETE").status == 200
    assert state(server, running) == "running"
    assert state(server, waiting) == "pending"
    server.ask("/interrupt", {"prompt_id": running})
    ended(server, running)
    assert state(server, running) == "interrupted"
    assert ended(server, waiting)["status"]["completed"], "an interrupt of a waiting job is no cancel of it"
    assert state(server, gone) == ""


def test_a_cancel_between_two_jobs_hits_neither(server: Server) -> None:
    for _ in range(10):
        first, second = server.submit(quick()), server.submit(quick())
        server.ask("/interrupt", {"prompt_id": first})
        assert ended(server, second)["status"]["completed"]
    still_works(server)


@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "heun", "uni_pc"])
def test_a_cancel_works_within_one_step(tmp_path: Path, sampler: str) -> None:
    machine = Machine(tmp_path)
    document = graph()
    document["5"]["inputs"] |= {"steps": 12, "sampler_name": sampler}

    def steps() -> int:
        return sum(isinstance(e, ev.Progress) for e in machine.bench.events)

    outcome = machine.executor.run(Job("job", Prompt.parse(document), ("7",), {}), lambda: steps() >= 3)
    assert outcome.status == "interrupted"
    assert steps() <= 4
    assert machine.executor.run(Job("next", Prompt.parse(graph()), ("7",), {})).status == "success"

from __future__ import annotations

import pytest

from tests.e2e.wiretap import Server
from tests.faults.ask import ended, eventually, long, quick, state, still_works

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

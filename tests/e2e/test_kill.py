"""Processes that die: the worker, the front, and jobs that kill what runs them. Nothing that was accepted is lost."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.wiretap import PATIENCE_S, Json, Server, alive, node, running

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="uses /proc and POSIX signals")]
SEEDS = itertools.count(9_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # A hang is waited for once; in less time a living worker may be silent, too, on a machine that does much else.
    with running(tmp_path_factory.mktemp("kill"), "--hang-timeout", "10", "--cancel-grace", "1") as one:
        yield one


def dying(how: str, once: Path | str = "") -> Json:
    return {"1": node("TestDie", how=how, once=str(once), seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])}


def quick() -> Json:
    return {"1": node("TestShow", a=next(SEEDS))}


def long(seconds: float = 60, deaf: bool = False) -> Json:
    return {"1": node("TestSleep", seconds=seconds, deaf=deaf, seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])}


def eventually(check: Callable[[], object], timeout: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + timeout
    while not check():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def ended(server: Server, id: str) -> Json:
    eventually(lambda: server.history(id))
    return server.history(id)


@pytest.mark.parametrize(
    ("how", "words"), [("segv", "SIGSEGV"), ("kill", "out of memory"), ("exit", "exit code 3"), ("hang", "no sign of life")]
)
def test_death_is_survived_and_the_job_is_tried_again(server: Server, tmp_path: Path, how: str, words: str) -> None:
    socket = server.socket(how)
    bad = server.submit(dying(how, tmp_path / "flag"), how)
    behind = server.submit(quick(), how)
    frames = socket.run(bad)
    assert "execution_success" in [f["type"] for f in frames]
    assert ended(server, bad)["status"]["completed"]
    assert server.ask(f"/jobs/{bad}").json()["attempts"] == 2
    assert ended(server, behind)["status"]["completed"]
    assert words in server.ask("/internal/logs").json()
    socket.close()


def test_poison_is_quarantined_with_its_cause(server: Server) -> None:
    socket = server.socket("poison")
    poison = server.submit(dying("segv"), "poison")
    behind = server.submit(quick(), "poison")
    frames = socket.run(poison)
    assert "execution_start" in [f["type"] for f in frames]
    (error,) = [f["data"] for f in frames if f["type"] == "execution_error"]
    assert "SIGSEGV" in error["exception_message"]
    assert "attempt 3 of 3" in error["exception_message"]
    assert (error["node_id"], error["node_type"]) == ("1", "TestDie")
    about = server.ask(f"/jobs/{poison}").json()
    assert (about["state"], about["attempts"]) == ("error", 3)
    assert "SIGSEGV" in about["error"]
    assert ended(server, poison)["status"]["messages"][-1][0] == "execution_error"
    assert ended(server, behind)["status"]["completed"]
    socket.close()


def test_front_answers_while_the_worker_is_down(server: Server) -> None:
    os.kill(server.worker_pid(), signal.SIGKILL)
    eventually(lambda: server.ask("/health/ready").status == 503)
    assert server.ask("/object_info/TestShow").json()
    assert server.ask("/health/live").status == 200
    assert server.ask("/prompt", {"prompt": {"1": node("TestShow", a="x")}}).status == 400
    id = server.submit(quick())
    assert ended(server, id)["status"]["completed"]


def test_node_that_ignores_a_cancel_is_ended(server: Server) -> None:
    socket = server.socket("deaf")
    before = server.worker_pid()
    id = server.submit(long(deaf=True), "deaf")
    socket.until(lambda f: f["type"] == "executing" and f["data"].get("node") == "1")
    server.ask("/interrupt", {})
    frames = socket.run(id)
    assert "execution_interrupted" in [f["type"] for f in frames]
    about = server.ask(f"/jobs/{id}").json()
    assert (about["state"], about["attempts"]) == ("interrupted", 1)
    assert ended(server, server.submit(quick()))["status"]["completed"]
    assert server.worker_pid() != before, "the node was not waited for"
    socket.close()


def test_second_server_on_the_same_data_is_refused(server: Server) -> None:
    root = Path(__file__).resolve().parents[2]
    flags = ["--base-directory", str(server.home), "--user-directory", str(server.home / "user"), "--port", "0"]
    second = subprocess.run([sys.executable, str(root / "main.py"), "serve", *flags], capture_output=True, text=True, timeout=PATIENCE_S)
    assert second.returncode != 0
    assert "already in use" in second.stderr
    assert server.ask("/queue").status == 200


def test_killed_front_keeps_queue_and_history_and_leaves_no_orphan(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        done = server.submit(quick())
        ended(server, done)
        running_job = server.submit(long())
        waiting = [server.submit(quick(), prompt_id=f"w{n}") for n in range(3)]
        eventually(lambda: [i[1] for i in server.ask("/queue").json()["queue_running"]] == [running_job])
        worker = server.worker_pid()
        server.kill()
        eventually(lambda: not alive(worker))
        server.start()
        assert server.history(done)["status"]["completed"]
        eventually(lambda: server.ask(f"/jobs/{running_job}").json()["state"] == "running")
        assert server.ask(f"/jobs/{running_job}").json()["attempts"] == 2
        server.ask("/interrupt", {"prompt_id": running_job})
        for id in waiting:
            assert ended(server, id)["status"]["completed"]
        numbers = [server.history(id)["prompt"][0] for id in waiting]
        assert server.ask("/prompt", {"prompt": quick()}).json()["number"] > max(numbers) - 3


def test_what_was_accepted_survives_a_kill_at_any_moment(tmp_path: Path) -> None:
    rng = random.Random(7)
    accepted: list[str] = []
    with running(tmp_path) as server:
        for round in range(3):
            stop_at = time.monotonic() + rng.uniform(0.0, 0.6)
            n = 0
            while time.monotonic() < stop_at or n == 0:
                accepted.append(server.submit(quick(), prompt_id=f"{round}-{n}"))
                n += 1
            server.kill()
            server.start()
        eventually(lambda: server.ask("/prompt").json()["exec_info"]["queue_remaining"] == 0)
        history = server.ask("/history").json()
        assert sorted(history) == sorted(accepted)
        assert all(entry["status"]["completed"] for entry in history.values())


def test_sigterm_puts_the_running_job_back(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        id = server.submit(long(60))
        eventually(lambda: [i[1] for i in server.ask("/queue").json()["queue_running"]] == [id])
        worker = server.worker_pid()
        assert server.process.stop() == 0
        assert not alive(worker)
        server.start()
        assert [i[1] for q in server.ask("/queue").json().values() for i in q] == [id]
        eventually(lambda: server.ask(f"/jobs/{id}").json()["state"] == "running")
        assert server.ask(f"/jobs/{id}").json()["attempts"] == 1, "an orderly stop is no failed attempt"
        server.ask("/interrupt", {})


def test_sigterm_lets_a_short_job_end(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        id = server.submit(long(0.5))  # of the seconds that it waits for jobs to end
        eventually(lambda: [i[1] for i in server.ask("/queue").json()["queue_running"]] == [id] or server.history(id))
        server.process.stop()
        server.start()
        assert server.history(id)["status"]["completed"]


def test_damaged_database_is_kept_and_replaced(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        ended(server, server.submit(quick()))
        server.process.stop()
        path = tmp_path / "user" / "emulsion.db"
        content = bytearray(path.read_bytes())
        content[100:4000] = b"\xff" * 3900
        path.write_bytes(content)
        server.start()
        assert list((tmp_path / "user").glob("emulsion.db.damaged-*"))
        assert server.ask("/history").json() == {}
        assert ended(server, server.submit(quick()))["status"]["completed"]


def test_quick_test_ends_by_itself(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, str(root / "main.py"), "--quick-test-for-ci", "--cpu", "--port", "0", "--base-directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr
    assert "ready" in done.stderr

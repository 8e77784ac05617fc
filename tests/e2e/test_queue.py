"""What people do with a queue: pause it, reorder, edit, retry, look things up, and the same with users who must not see each other."""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.wiretap import PATIENCE_S, Json, Server, ask, node, running

pytestmark = pytest.mark.slow
SEEDS = itertools.count(8_000_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("queue")) as one:
        yield one


@pytest.fixture
def paused(server: Server) -> Iterator[Server]:
    assert server.ask("/queue/pause", {}).json() == {"paused": True}
    yield server
    server.ask("/queue", {"clear": True})
    assert server.ask("/queue/resume", {}).json() == {"paused": False}


def quick(text: Any = None) -> Json:
    return {"1": node("TestShow", a=next(SEEDS) if text is None else text)}


def ended(server: Server, id: str) -> Json:
    deadline = time.monotonic() + PATIENCE_S
    while not (entry := server.history(id)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return entry


def waiting(server: Server) -> list[str]:
    return [item[1] for item in server.ask("/queue?limit=1000").json()["queue_pending"]]


def test_a_paused_queue_starts_nothing_and_goes_on_after(paused: Server) -> None:
    ids = [paused.submit(quick()) for _ in range(3)]
    time.sleep(0.2)
    page = paused.ask("/queue?limit=2").json()
    assert (page["paused"], page["total"], len(page["queue_pending"]), page["queue_running"]) == (True, 3, 2, [])
    assert [item[1] for item in paused.ask("/queue?limit=2&offset=2").json()["queue_pending"]] == ids[2:]
    paused.ask("/queue/resume", {})
    for id in ids:
        assert ended(paused, id)["status"]["completed"]


def test_reorder_edit_and_drop(paused: Server) -> None:
    ids = [paused.submit(quick()) for _ in range(4)]
    answer = paused.ask("/queue/reorder", {"ids": [ids[3], ids[2]]})
    assert answer.json()["order"] == [ids[3], ids[2], ids[0], ids[1]]
    assert paused.ask("/queue/reorder", {"ids": [ids[1]], "before": ids[2]}).status == 200
    assert waiting(paused) == [ids[3], ids[1], ids[2], ids[0]]
    assert paused.ask(f"/jobs/{ids[0]}", {"number": -1e6}, method="PATCH").json()["number"] == -1e6
    assert waiting(paused)[0] == ids[0]
    assert paused.ask(f"/jobs/{ids[0]}", {"prompt": quick(4711)}, method="PATCH").status == 200
    assert paused.ask(f"/jobs/{ids[1]}", method="DELETE").json()["did"] == "dropped"
    paused.ask("/queue/resume", {})
    entry = ended(paused, ids[0])
    assert entry["outputs"]["1"]["text"] == ["4711"]
    assert entry["prompt"][2]["1"]["inputs"]["a"] == 4711
    assert paused.ask(f"/jobs/{ids[1]}").status == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/queue/reorder", {"ids": ["nothing"]}, 404),
        ("POST", "/queue/reorder", {"ids": 5}, 400),
        ("POST", "/queue/reorder", {"ids": [], "before": 5}, 400),
        ("PATCH", "/jobs/nothing", {"number": 1}, 404),
        ("PATCH", "/jobs/WAITING", {"number": "x"}, 400),
        ("PATCH", "/jobs/WAITING", {"number": 1e300}, 400),
        ("PATCH", "/jobs/WAITING", {"prompt": {"1": node("Unknown")}}, 400),
        ("PATCH", "/jobs/WAITING", {"prompt": 5}, 400),
        ("PATCH", "/jobs/WAITING", [], 400),
        ("PATCH", "/jobs/DONE", {"number": 1}, 409),
        ("POST", "/jobs/WAITING/retry", {}, 409),
        ("POST", "/jobs/nothing/retry", {}, 404),
        ("DELETE", "/jobs/nothing", None, 404),
        ("GET", "/jobs?state=strange", None, 400),
        ("GET", "/jobs?limit=x", None, 400),
        ("GET", "/queue?limit=x", None, 400),
        ("GET", "/queue?limit=-5&offset=-5", None, 200),
    ],
)
def test_what_cannot_be_done_is_said(paused: Server, method: str, path: str, body: Any, status: int) -> None:
    done = next((j["id"] for j in paused.ask("/jobs?limit=1").json()["jobs"]), "")
    if "DONE" in path and not done:
        paused.ask("/queue/resume", {})
        ended(paused, done := paused.submit(quick()))
        paused.ask("/queue/pause", {})
    path = path.replace("WAITING", paused.submit(quick())).replace("DONE", done)
    answer = paused.ask(path, body, method=method)
    assert answer.status == status, answer.body
    if status != 200:
        assert answer.json()["error"]["message"]


def test_finished_jobs_are_found_retried_and_forgotten(server: Server) -> None:
    word = next(SEEDS)
    first = server.submit(quick(word))
    ended(server, first)
    (found,) = server.ask(f"/jobs?search={word}").json()["jobs"]
    assert (found["id"], found["state"], found["error"], found["thumbnail"]) == (first, "success", None, None)
    again = server.ask(f"/jobs/{first}/retry", {}).json()
    assert again["retry_of"] == first
    assert ended(server, again["prompt_id"])["outputs"]["1"]["text"] == [str(word)]
    page = server.ask(f"/jobs?search={word}&limit=1").json()
    assert [j["id"] for j in page["jobs"]] == [again["prompt_id"]]
    page = server.ask(f"/jobs?search={word}&limit=1&before={page['next']}").json()
    assert [j["id"] for j in page["jobs"]] == [first]
    assert server.ask(f"/jobs/{first}", method="DELETE").json()["did"] == "forgotten"
    assert server.history(first) == {}
    bad = server.submit({"1": node("TestDie", how="raise", once="", seed=next(SEEDS)), "2": node("TestShow", a=["1", 0])})
    ended(server, bad)
    assert server.ask("/jobs?state=error&search=as+asked&limit=1").json()["jobs"][0]["id"] == bad


def test_finished_jobs_show_their_pictures(server: Server) -> None:
    image = node("EmptyImage", width=8, height=8, batch_size=2, color=next(SEEDS) % 0xFFFFFF)
    id = server.submit({"1": image, "2": node("PreviewImage", images=["1", 0])})
    ended(server, id)
    found = next(j for j in server.ask("/jobs?limit=5").json()["jobs"] if j["id"] == id)
    assert found["pictures"] == 2
    assert server.ask(found["thumbnail"]).headers["Content-Type"] == "image/webp"


def test_a_running_job_is_cancelled_by_its_id(server: Server) -> None:
    long = server.submit({"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])})
    deadline = time.monotonic() + PATIENCE_S
    while server.ask(f"/jobs/{long}").json()["state"] != "running":
        assert time.monotonic() < deadline
    assert server.ask(f"/jobs/{long}", {"number": 1}, method="PATCH").status == 409
    assert server.ask(f"/jobs/{long}", method="DELETE").json()["did"] == "cancelled"
    ended(server, long)
    assert server.ask(f"/jobs/{long}").json()["state"] == "interrupted"


def test_the_view_of_one_client(paused: Server) -> None:
    mine, other = paused.submit(quick(), "me"), paused.submit(quick(), "you")
    ids = [i[1] for i in paused.ask("/queue?limit=10&client=me").json()["queue_pending"]]
    assert mine in ids
    assert other not in ids


def test_a_pause_outlives_the_server(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.ask("/queue/pause", {})
        id = server.submit(quick())
        server.kill()
        server.start()
        page = server.ask("/queue?limit=5").json()
        assert page["paused"]
        assert [i[1] for i in page["queue_pending"]] == [id]
        server.ask("/queue/resume", {})
        assert ended(server, id)["status"]["completed"]


class Person:
    """Somebody with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self._server, self._headers = server, {"Authorization": f"Bearer {token}"}

    def ask(self, path: str, data: Any = None, **more: Any) -> Any:
        headers = {**self._headers, **more.pop("headers", {})}
        return ask(self._server.url + path, data, headers=headers, **more)

    def ended(self, id: str) -> Json:
        deadline = time.monotonic() + PATIENCE_S
        while not (entry := self.ask(f"/history/{id}").json().get(id)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        found: Json = entry
        return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("users")
    users = {
        "anna": {"token": "anna-anna-anna", "role": "editor"},
        "ben": {"token_sha256": hashlib.sha256(b"ben-ben-ben").hexdigest(), "role": "editor"},
        "vera": {"token": "vera-vera-vera", "role": "viewer"},
    }
    file = home / "users.json"
    file.write_text(json.dumps({"users": users}))
    file.chmod(0o600)
    with running(home, "--users-file", str(file), "--token", "admin-admin", "--user-quota", "1") as one:
        yield one


@pytest.fixture(scope="module")
def people(shared: Server) -> tuple[Person, Person, Person, Person]:
    anna, ben, vera, admin = (Person(shared, t) for t in ("anna-anna-anna", "ben-ben-ben", "vera-vera-vera", "admin-admin"))
    return anna, ben, vera, admin


def picture(colour: int = 255) -> Json:
    made = node("EmptyImage", width=8, height=8, batch_size=1, color=colour)
    return {"1": made, "2": node("SaveImage", images=["1", 0], filename_prefix="x")}


def test_users_have_files_queues_and_histories_of_their_own(shared: Server, people: tuple[Person, ...]) -> None:
    anna, ben, vera, admin = people
    admin.ask("/queue/pause", {})
    first = anna.ask("/prompt", {"prompt": picture(), "extra_data": {"owner": "ben"}}).json()["prompt_id"]
    other = ben.ask("/prompt", {"prompt": picture()}).json()["prompt_id"]
    assert [i[1] for i in anna.ask("/queue").json()["queue_pending"]] == [first]
    assert vera.ask("/queue").json()["queue_pending"] == []
    assert len(admin.ask("/queue").json()["queue_pending"]) == 2
    for method, path, body in (
        ("GET", f"/jobs/{first}", None),
        ("PATCH", f"/jobs/{first}", {"number": 1}),
        ("DELETE", f"/jobs/{first}", None),
        ("POST", f"/jobs/{first}/retry", {}),
        ("POST", "/queue/reorder", {"ids": [first]}),
        ("GET", f"/jobs/{first}/events", None),
    ):
        assert ben.ask(path, body, method=method).status == 404, path
    ben.ask("/queue", {"delete": [first]})
    ben.ask("/queue", {"clear": True})
    assert [i[1] for i in anna.ask("/queue").json()["queue_pending"]] == [first]
    other = ben.ask("/prompt", {"prompt": picture()}).json()["prompt_id"]
    admin.ask("/queue/resume", {})
    shown = anna.ended(first)["outputs"]["2"]["images"][0]
    assert ben.ended(other)["outputs"]["2"]["images"][0] == shown, "the same name in another directory, not a result of the other user"
    assert ben.ask(f"/history/{first}").json() == {}
    assert first not in ben.ask("/history").json()
    assert {j["id"] for j in ben.ask("/jobs").json()["jobs"]} == {other}
    assert {first, other} <= set(admin.ask("/history").json())
    view = f"/view?filename={shown['filename']}&type=output"
    assert anna.ask(view).body == (shared.home / "output" / "anna" / shown["filename"]).read_bytes()
    (shared.home / "output" / "ben" / shown["filename"]).unlink()
    assert ben.ask(view).status == 404
    assert ben.ask(f"/view?filename={shown['filename']}&type=output&subfolder=../anna").status in (400, 403)
    ben.ask("/history", {"delete": [first]})
    assert anna.ask(f"/history/{first}").json()


def test_a_user_cannot_interrupt_or_listen_to_another(shared: Server, people: tuple[Person, ...]) -> None:
    anna, ben, _, _ = people
    listening = shared.socket("same-id", query="&token=ben-ben-ben")
    listening.next()
    body = {
        "prompt": {"1": node("TestSleep", seconds=60, deaf=False, seed=next(SEEDS)), "2": node("TestSink", a=["1", 0])},
        "client_id": "same-id",
    }
    id = anna.ask("/prompt", body).json()["prompt_id"]
    while anna.ask(f"/jobs/{id}").json()["state"] != "running":
        time.sleep(0.02)
    ben.ask("/interrupt", {})
    ben.ask("/interrupt", {"prompt_id": id})
    time.sleep(0.3)
    assert anna.ask(f"/jobs/{id}").json()["state"] == "running"
    anna.ask("/interrupt", {"prompt_id": id})
    anna.ended(id)
    listening.connection.send("{}")
    heard = []
    try:
        while True:
            heard.append(listening.next(0.3))
    except TimeoutError:
        pass
    assert {f["type"] for f in heard} <= {"status"}
    listening.close()


def test_inputs_and_settings_are_a_users_own(shared: Server, people: tuple[Person, ...]) -> None:
    anna, ben, _, _ = people
    (shared.home / "input" / "anna").mkdir(parents=True, exist_ok=True)
    (shared.home / "input" / "anna" / "hers.png").write_bytes(b"")
    choices = lambda who: who.ask("/object_info/LoadImage").json()["LoadImage"]["input"]["required"]["image"]  # noqa: E731
    assert "hers.png" in json.dumps(choices(anna))
    assert "hers.png" not in json.dumps(choices(ben))
    load = {"1": node("LoadImage", image="hers.png"), "2": node("PreviewImage", images=["1", 0])}
    assert ben.ask("/prompt", {"prompt": load}).status == 400
    anna.ask("/settings", {"a": 1})
    assert ben.ask("/settings").json() == {}
    anna.ask("/userdata/w.json", b"{}")
    assert ben.ask("/userdata/w.json").status == 404


def test_a_user_who_keeps_too_much_is_told(shared: Server, people: tuple[Person, ...]) -> None:
    _, ben, _, admin = people
    assert admin.ask("/userdata/a.bin", bytes(600_000)).status == 200
    refused = admin.ask("/userdata/b.bin", bytes(600_000))
    assert refused.status == 507
    assert "of the 1.0 MB that each user may keep" in refused.json()["error"]["message"]
    assert admin.ask("/userdata/b.bin").status == 404
    assert ben.ask("/userdata/a.bin", bytes(600_000)).status == 200
    admin.ask("/userdata/a.bin", method="DELETE")


def test_roles(people: tuple[Person, ...]) -> None:
    anna, _, vera, admin = people
    assert vera.ask("/prompt", {"prompt": picture()}).status == 403
    assert vera.ask("/userdata/x", b"x").status == 403
    assert vera.ask("/object_info").status == 200
    assert anna.ask("/queue/pause", {}).status == 403
    assert anna.ask("/free", {"free_memory": True}).status == 403
    assert anna.ask("/internal/logs").status == 403
    assert admin.ask("/internal/logs").status == 200
    assert anna.ask("/audit").status == 403
    lines = admin.ask("/audit").json()
    assert {"who", "address", "method", "path", "status", "at"} <= set(lines[-1])
    assert any(line["who"] == "vera" and line["status"] == 403 for line in lines)


def test_wrong_tokens_are_slowed_down(tmp_path: Path) -> None:
    with running(tmp_path, "--token", "right-token", "--rate-limit", "5") as server:
        right = Person(server, "right-token")
        assert [right.ask("/free", {}).status for _ in range(7)] == [200] * 5 + [429] * 2
        assert right.ask("/queue").status == 200
        statuses = [Person(server, f"wrong-{n}").ask("/queue").status for n in range(25)]
        assert statuses[:20] == [401] * 20
        assert 429 in statuses[20:]
        stats = right.ask("/system_stats")
        assert stats.status == 429, "the address is locked out for a while, whatever it sends"

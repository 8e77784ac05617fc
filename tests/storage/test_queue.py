from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.storage.db import Database
from backend.storage.history import KEPT, Ending, History, Kept
from backend.storage.queue import MOST_ATTEMPTS, Duplicate, Queue, QueuedJob


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "a.db")
    yield database
    database.close()


def job(id: str, number: float = 0) -> QueuedJob:
    return QueuedJob(id, number, "c", '{"1":{"class_type":"A","inputs":{}}}', '{"client_id":"c"}', '["1"]', 1.0)


def put(queue: Queue, *jobs: QueuedJob) -> None:
    for one in jobs:
        queue.submit(one).result(5)
        queue.enqueue(one)


def end(history: History, id: str, state: str = "success") -> None:
    history.finish(id, Ending(state, "{}", "{}", '{"status_str":"success","completed":true,"messages":[]}'), 2.0).result(5)


def test_lowest_number_first_then_id(db: Database) -> None:
    queue = Queue(db)
    put(queue, job("b", 1), job("z", -3), job("a", 1), job("c", 0.5))
    assert [queue.take().id for _ in range(4)] == ["z", "c", "a", "b"]  # type: ignore[union-attr]
    assert queue.take() is None


def test_restart_keeps_waiting_and_repeats_running(db: Database) -> None:
    queue = Queue(db)
    put(queue, job("a", 1), job("b", 2))
    queue.take()
    db.write(lambda c: None).result(5)
    again = Queue(db)
    assert [(j.id, ok) for j, ok in again.recover()] == [("a", True)]
    assert [again.take().id, again.take().id] == ["a", "b"]  # type: ignore[union-attr]


def test_poison_job_is_not_repeated_for_ever(db: Database) -> None:
    put(Queue(db), job("a"))
    for attempt in range(MOST_ATTEMPTS):
        queue = Queue(db)
        recovered = queue.recover()
        assert [ok for _, ok in recovered] == ([True] if attempt else [])
        queue.take()
        db.write(lambda c: None).result(5)
    queue = Queue(db)
    ((poison, again),) = queue.recover()
    assert not again
    assert poison.attempts == MOST_ATTEMPTS
    assert queue.take() is None


def test_number_keeps_its_kind(db: Database) -> None:
    put(Queue(db), job("a", 3), job("b", 3.0))
    queue = Queue(db)
    queue.recover()
    assert [repr(queue.pending[id].number) for id in "ab"] == ["3", "3.0"]


def test_same_id_twice(db: Database) -> None:
    queue, history = Queue(db), History(db)
    put(queue, job("a"))
    with pytest.raises(Duplicate):
        queue.submit(job("a"))
    queue.take()
    end(history, "a")
    queue.close("a")
    assert (list(queue.running), len(queue)) == ([], 1)
    queue.closed("a")
    assert len(queue) == 0
    with pytest.raises(Duplicate):
        queue.submit(job("a")).result(5)
    queue.submit(job("a"), replace=True).result(5)
    assert history.entry("a") == "{}"


def test_deleted_jobs_never_appear_again(db: Database) -> None:
    queue = Queue(db)
    put(queue, job("a", 1), job("b", 2), job("c", 3))
    assert queue.delete(["b", "unknown"])
    assert not queue.delete(["b"])
    db.write(lambda c: None).result(5)
    again = Queue(db)
    again.recover()
    assert sorted(again.pending) == ["a", "c"]
    assert queue.clear()
    assert len(queue) == 0


def test_put_back_without_counting(db: Database) -> None:
    queue = Queue(db)
    put(queue, job("a"))
    taken = queue.take()
    assert taken is not None
    queue.put_back(taken, count_attempt=False).result(5)
    again = Queue(db)
    assert again.recover() == []
    assert again.pending["a"].attempts == 0


@given(st.lists(st.tuples(st.integers(-5, 5), st.text("abc", min_size=1, max_size=3)), unique_by=lambda t: t[1], max_size=20), st.data())
def test_heap_order_is_kept_by_deletion(items: list[tuple[int, str]], data: st.DataObject) -> None:
    class NoDisk:
        def write(self, work: object) -> None:
            return None

        later = write

    queue = Queue(NoDisk())  # type: ignore[arg-type]
    for number, id in items:
        queue.enqueue(job(id, number))
    gone = data.draw(st.lists(st.sampled_from([id for _, id in items] or ["none"]), max_size=5))
    queue.delete(gone)
    left = sorted((number, id) for number, id in items if id not in gone)
    assert sorted(j.order for j in queue.in_heap_order()) == left
    taken = []
    while (one := queue.take()) is not None:
        taken.append(one.order)
    assert taken == left


def test_history_entry_has_the_published_form(db: Database) -> None:
    queue, history = Queue(db), History(db)
    put(queue, job("a", 7))
    assert history.entry("a") == "{}"
    end(history, "a")
    assert json.loads(history.entry("a")) == {
        "a": {
            "prompt": [7, "a", {"1": {"class_type": "A", "inputs": {}}}, {"client_id": "c"}, ["1"]],
            "outputs": {},
            "meta": {},
            "status": {"status_str": "success", "completed": True, "messages": []},
        }
    }


@pytest.mark.parametrize(
    ("most", "offset", "wanted"),
    [
        (None, -1, "0123456789"),
        (3, -1, "789"),
        (30, -1, "0123456789"),
        (3, 0, "012"),
        (3, 8, "89"),
        (None, 4, "456789"),
        (0, -1, ""),
        (5, 10, ""),
        (3, 99, ""),
    ],
)
def test_history_pages(db: Database, most: int | None, offset: int, wanted: str) -> None:
    queue, history = Queue(db), History(db)
    for n in range(10):
        put(queue, job(str(n), n))
        end(history, str(n))
    assert "".join(json.loads("".join(history.page(most, offset)))) == wanted


def test_history_is_bounded(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.storage.history._PRUNE_EVERY", 1)
    queue, history = Queue(db), History(db, Kept(entries=5))
    for n in range(9):
        put(queue, job(str(n), n))
        end(history, str(n))
    assert list(json.loads("".join(history.page()))) == ["4", "5", "6", "7", "8"]
    assert KEPT == 10_000


def test_history_delete_and_clear(db: Database) -> None:
    queue, history = Queue(db), History(db)
    for n in range(3):
        put(queue, job(str(n), n))
        end(history, str(n))
    put(queue, job("waiting"))
    history.delete(["1", "waiting", "unknown"]).result(5)
    assert list(json.loads("".join(history.page()))) == ["0", "2"]
    history.clear().result(5)
    assert "".join(history.page()) == "{}"
    assert history.job("waiting")["state"] == "pending"  # type: ignore[index]


def test_places_in_line(db: Database) -> None:
    queue = Queue(db)
    for n, name in enumerate("abcde"):
        put(queue, job(name, n))
    line = lambda: "".join(j.id for j in queue.in_line())  # noqa: E731

    done = queue.place(["e", "d"])
    assert done is not None
    done.result(5)
    assert line() == "edabc"
    for ids, before, wanted in ((["c"], "a", "edcab"), (["a", "e"], "b", "dcaeb"), (["b", "x"], "d", "bdcae"), (["a", "a"], "b", "abdce")):
        done = queue.place(ids, before)
        assert done is not None
        done.result(5)
        assert line() == wanted
    assert queue.place(["x"]) is None
    assert queue.place(["a"], "x") is None
    assert queue.place(["a"], "a") is None
    again = Queue(db)
    again.recover()
    assert [j.id for j in again.in_line()] == list("abdce"), "the order is on disk"


def test_places_between_equal_numbers(db: Database) -> None:
    queue = Queue(db)
    for name in "abcd":
        put(queue, job(name, 5))
    done = queue.place(["d"], "b")
    assert done is not None
    done.result(5)
    assert [j.id for j in queue.in_line()] == list("adbc")
    assert max(j.number for j in queue.pending.values()) <= 5, "what comes later still goes to the end"


def test_a_place_can_be_split_many_times(db: Database) -> None:
    queue = Queue(db)
    for n, name in enumerate("ab"):
        put(queue, job(name, n))
    for n in range(80):
        put(queue, job(f"n{n}", 100 + n))
        queue.place([f"n{n}"], "b")
    assert [j.id for j in queue.in_line()] == ["a", *[f"n{n}" for n in range(80)], "b"]


def test_waiting_jobs_are_edited_and_others_not(db: Database) -> None:
    queue = Queue(db)
    put(queue, job("a", 1))
    put(queue, job("b", 2))
    done = queue.edit("b", '{"1":{}}', "{}", '["1"]')
    assert done is not None
    done.result(5)
    done = queue.renumber("b", 0)
    assert done is not None
    done.result(5)
    again = Queue(db)
    again.recover()
    assert next((j.id, j.prompt) for j in again.in_line()) == ("b", '{"1":{}}')
    taken = queue.take()
    assert taken is not None
    assert queue.edit("b", "", "", "") is None
    assert queue.renumber("b", 5) is None


def test_history_is_searched_and_told_apart_by_owner(db: Database) -> None:
    queue, history = Queue(db), History(db)
    for n in range(6):
        one = job(f"id{n}", n)
        one.owner = "anna" if n % 2 else "ben"
        one.prompt = json.dumps({"1": {"text": f"a Red fox {n}"}})
        put(queue, one)
        end(history, one.id)
    assert [f.id for f in history.search("red FOX")] == [f"id{n}" for n in (5, 4, 3, 2, 1, 0)]
    assert [f.id for f in history.search("fox 3")] == ["id3"]
    assert [f.id for f in history.search(owner="anna", limit=2)] == ["id5", "id3"]
    first = history.search(limit=2)
    assert [f.id for f in history.search(limit=2, before=first[-1].position)] == ["id3", "id2"]
    assert history.search("%") == []
    assert history.entry("id1", "ben") == "{}"
    assert list(json.loads("".join(history.page(owner="ben")))) == ["id0", "id2", "id4"]
    assert list(json.loads("".join(history.page(1, owner="ben")))) == ["id4"]
    history.delete(["id0", "id1"], "anna").result(5)
    history.clear("ben").result(5)
    assert list(json.loads("".join(history.page()))) == ["id3", "id5"]


@pytest.mark.parametrize(
    ("kept", "left"), [(Kept(days=1), ["2", "3"]), (Kept(bytes=150), ["3"]), (Kept(entries=2), ["2", "3"]), (Kept(), list("0123"))]
)
def test_history_is_kept_by_count_age_and_bytes(db: Database, kept: Kept, left: list[str]) -> None:
    queue, history = Queue(db), History(db, kept)
    for n in range(4):
        one = job(str(n), n)
        one.extra = json.dumps({"x": "y" * 100})
        put(queue, one)
        history.finish(str(n), Ending("success", "{}", "{}", "{}"), 1e9 + (0 if n < 2 else 86400)).result(5)
    history.prune(1e9 + 86401).result(5)
    assert list(json.loads("".join(history.page()))) == left

from __future__ import annotations

from pathlib import Path

import pytest

from backend.storage.db import Database
from backend.storage.events import EventLog


def settle(db: Database) -> None:
    db.write(lambda c: None).result(5)


def test_numbers_rise_and_items_come_back_in_order(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    log = EventLog(db)
    numbers = [log.append("j", "c" if n % 2 else None, ["e", n]) for n in range(6)]
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert [n for n, *_ in log.since(2)] == [3, 4, 5, 6]
    log.flush()
    settle(db)
    assert [e for *_, e in log.since(2)] == [["e", 2], ["e", 3], ["e", 4], ["e", 5]]
    assert [n for n, *_ in log.since(0, client="c")] == [2, 4, 6]
    assert list(log.since(0, job="other")) == []
    db.close()


def test_written_and_unwritten_items_are_joined_without_doubles(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    log = EventLog(db)
    for n in range(3):
        log.append("j", None, n)
    log.flush()
    settle(db)
    log.append("j", None, 3)
    assert [e for *_, e in log.since(1)] == [1, 2, 3]
    db.close()


def test_numbers_are_never_given_out_twice(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    log = EventLog(db)
    log.append("j", None, 0)
    log.flush()
    lost = log.append("j", None, "not flushed before the kill")
    db.close()
    db = Database(tmp_path / "a.db")
    assert EventLog(db).append("j", None, 1) > lost
    db.close()


def test_old_events_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.storage.events.KEPT_EVENTS", 10)
    monkeypatch.setattr("backend.storage.events._PRUNE_EVERY", 1)
    db = Database(tmp_path / "a.db")
    log = EventLog(db)
    for n in range(100):
        log.append("j", None, n)
        log.flush()
    settle(db)
    kept = [e for *_, e in log.since(0)]
    assert kept == list(range(90, 100))
    db.close()


def test_bytes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.storage.events.KEPT_BYTES", 4000)
    monkeypatch.setattr("backend.storage.events._PRUNE_EVERY", 1)
    db = Database(tmp_path / "a.db")
    log = EventLog(db)
    for n in range(300):
        log.append("j", None, f"{n} {n * 7919}")
        log.flush()
    settle(db)
    (size,) = db.read(lambda c: c.execute("SELECT sum(length(body)) FROM events").fetchone())
    assert size <= 4000
    assert [e for *_, e in log.since(0)][-1] == f"299 {299 * 7919}"
    db.close()

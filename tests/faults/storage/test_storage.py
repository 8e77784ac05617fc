from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from backend.base.errors import BadFile
from backend.storage.db import Database
from backend.storage.events import EventLog
from backend.storage.history import Ending, History
from backend.storage.queue import Queue, QueuedJob


def job(id: str, at: float) -> QueuedJob:
    return QueuedJob(id, 0, None, "{}", "{}", "[]", at)


def test_a_database_that_is_locked_for_a_while_is_waited_for(tmp_path: Path) -> None:
    database = Database(tmp_path / "a.db")
    other = sqlite3.connect(tmp_path / "a.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.5, lambda: other.execute("COMMIT"))
    release.start()
    Queue(database).submit(job("a", 1.0)).result(10)
    release.join()
    other.close()
    database.close()


def test_a_database_that_stays_locked_is_a_sentence_and_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Database(tmp_path / "a.db").close()
    connect = sqlite3.connect
    monkeypatch.setattr("backend.storage.db.sqlite3.connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0.0, "factory": Impatient}))
    other = connect(tmp_path / "a.db", isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(BadFile, match="cannot be opened"):
        Database(tmp_path / "a.db")
    other.execute("ROLLBACK")
    other.close()
    assert not list(tmp_path.glob("*.damaged-*"))


class Impatient(sqlite3.Connection):
    """Does not wait for locks."""

    def execute(self, sql: str, *rest: object) -> sqlite3.Cursor:  # type: ignore[override]
        return super().execute("SELECT 1" if "busy_timeout" in sql else sql, *rest)  # type: ignore[arg-type]


def test_a_clock_that_jumps_back_changes_no_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(tmp_path / "a.db")
    queue, history, log = Queue(database), History(database), EventLog(database)
    for n, at in enumerate((2e9, 1e9, 1.5e9, -5.0)):
        monkeypatch.setattr(time, "time", lambda at=at: at)
        queue.submit(job(str(n), at)).result(5)
        history.finish(str(n), Ending("success", "{}", "{}", "{}"), at).result(5)
        log.append(str(n), None, ["run", 1])
        log.flush()
    assert [f.id for f in history.search()] == ["3", "2", "1", "0"]
    assert [seq for seq, *_ in log.since(0)] == [1, 2, 3, 4]
    database.close()

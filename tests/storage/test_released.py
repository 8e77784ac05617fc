"""Databases that released versions left behind open, keep what they hold, and go on working."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from backend.storage.db import MIGRATIONS, Database
from backend.storage.events import EventLog
from backend.storage.history import History
from backend.storage.queue import Queue, QueuedJob
from backend.storage.settings import SettingsStore

NEWEST = max(int(path.name.split("_")[0]) for path in MIGRATIONS.glob("[0-9]*_*.sql"))


def left_by(version: int, path: Path) -> None:
    """A database as the release with this schema left it: a waiting, an interrupted and a finished job, a setting, a user."""
    connection = sqlite3.connect(path)
    for number in range(1, version + 1):
        (script,) = MIGRATIONS.glob(f"{number:03}_*.sql")
        connection.executescript(script.read_text())
    rows = [("w", 2, "pending", None, 0), ("r", 1, "running", None, 1), ("f", 0, "success", 1, 1)]
    for id, number, state, finished, attempts in rows:
        connection.execute(
            "INSERT INTO jobs(id, number, state, client, prompt, extra, targets,"
            " attempts, created, finished, finished_at, outputs, meta, status)"
            " VALUES(?,?,?,'c','{\"1\":{}}','{}','[\"1\"]',?,1.0,?,2.0,'{}','{}','{}')",
            (id, number, state, attempts, finished),
        )
    connection.execute("INSERT INTO settings(user, id, value) VALUES('default','a','1')")
    connection.execute("INSERT INTO users(id, name) VALUES('u','U')")
    connection.execute(f"PRAGMA user_version={version}")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_a_released_database_goes_on(tmp_path: Path, version: int) -> None:
    path = tmp_path / "emulsion.db"
    left_by(version, path)
    database = Database(path)
    try:
        queue, history = Queue(database), History(database)
        assert [(job.id, again) for job, again in queue.recover()] == [("r", True)]
        assert [job.id for job in queue.in_line()] == ["r", "w"]
        assert list(json.loads("".join(history.page()))) == ["f"]
        assert SettingsStore(database).all("default") == {"a": 1}
        queue.submit(QueuedJob("n", 3, None, "{}", "{}", "[]", 3.0, owner="anna")).result(5)
        EventLog(database).append("n", None, ["run", 1])
        assert database.read(lambda c: c.execute("PRAGMA user_version").fetchone()) == (NEWEST,)
    finally:
        database.close()


def test_released_schemas_are_never_changed() -> None:
    """A migration that was released stays as it is: its file's digest is written here when it is released."""
    import hashlib

    known = {"001_first.sql": "33dcd30267bc2744", "002_owners.sql": "1839d58af29f57d4"}
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for path in MIGRATIONS.glob("*.sql")}
    assert found == known

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from backend.base.errors import BadFile, BadInput
from backend.storage import settings
from backend.storage.db import Database


def test_write_is_visible_after_the_future(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    db.write(lambda c: c.execute("INSERT INTO users VALUES('1', 'ann')")).result(5)
    assert db.read(lambda c: c.execute("SELECT name FROM users").fetchall()) == [("ann",)]
    db.close()
    again = Database(tmp_path / "a.db")
    assert again.read(lambda c: c.execute("SELECT count(*) FROM users").fetchone()) == (1,)
    again.close()


def test_one_failure_does_not_undo_the_others_of_its_batch(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    hold = threading.Event()
    first = db.write(lambda c: hold.wait(5))
    good = db.write(lambda c: c.execute("INSERT INTO users VALUES('1', 'ann')"))
    bad = db.write(lambda c: c.execute("INSERT INTO users VALUES('1', 'bob')"))
    after = db.write(lambda c: c.execute("INSERT INTO users VALUES('2', 'cleo')"))
    hold.set()
    first.result(5), good.result(5), after.result(5)
    with pytest.raises(sqlite3.IntegrityError):
        bad.result(5)
    assert [r[0] for r in db.read(lambda c: c.execute("SELECT name FROM users ORDER BY id").fetchall())] == ["ann", "cleo"]
    db.close()


def test_requests_that_wait_together_share_a_transaction(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    hold = threading.Event()
    db.write(lambda c: hold.wait(5))
    statements: list[str] = []
    db._writer.set_trace_callback(statements.append)
    futures = [db.write(lambda c, n=n: c.execute("INSERT INTO users VALUES(?, ?)", (str(n), str(n)))) for n in range(50)]
    hold.set()
    for future in futures:
        future.result(5)
    db.close()
    assert statements.count("COMMIT") <= 2


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 4096])
def test_damaged_file_is_kept_aside_and_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(content)
    said: list[str] = []
    db = Database(path, said.append)
    db.write(lambda c: c.execute("INSERT INTO users VALUES('1', 'ann')")).result(5)
    db.close()
    (aside,) = tmp_path.glob("a.db.damaged-*")
    assert aside.read_bytes() == content
    assert aside.name in said[0]


def test_page_damaged_in_the_middle_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    db = Database(path)
    db.write(lambda c: c.executemany("INSERT INTO users VALUES(?, ?)", [(str(n), "x" * 500 + str(n)) for n in range(200)])).result(5)
    db.close()
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    said: list[str] = []
    Database(path, said.append).close()
    assert said
    assert list(tmp_path.glob("a.db.damaged-*"))


def test_newer_database_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    Database(path).close()
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=999")
    connection.close()
    with pytest.raises(BadFile, match="newer"):
        Database(path)
    assert not list(tmp_path.glob("*.damaged-*"))


def test_later_comes_before_the_next_and_survives_an_orderly_end(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    db.later(lambda c: c.execute("INSERT INTO users VALUES('1', 'ann')"))
    db.write(lambda c: c.execute("UPDATE users SET name='bob' WHERE id='1'")).result(5)
    db.later(lambda c: c.execute("INSERT INTO users VALUES('2', 'cleo')"))
    db.close()
    again = Database(tmp_path / "a.db")
    assert again.read(lambda c: c.execute("SELECT name FROM users ORDER BY id").fetchall()) == [("bob",), ("cleo",)]
    again.close()


def test_writing_after_close_is_an_error(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    db.close()
    db.close()
    with pytest.raises(sqlite3.ProgrammingError):
        db.write(lambda c: None).result(1)


def test_only_who_needs_it_waits_for_the_disk(tmp_path: Path) -> None:
    db = Database(tmp_path / "a.db")
    statements: list[str] = []
    db._writer.set_trace_callback(statements.append)

    def mode(connection: sqlite3.Connection) -> int:
        found: int = connection.execute("PRAGMA synchronous").fetchone()[0]
        return found

    assert [db.write(mode, synced=wanted).result(5) for wanted in (False, False, True, True, False)] == [1, 1, 2, 2, 1]
    hold = threading.Event()
    db.write(lambda c: hold.wait(5), synced=False)
    both = [db.write(mode, synced=wanted) for wanted in (False, True)]
    hold.set()
    assert [f.result(5) for f in both] == [2, 2]
    assert sum("synchronous=" in s for s in statements) == 4
    db.close()


def test_settings_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "MOST", 1000)
    database = Database(tmp_path / "s.db")
    store = settings.SettingsStore(database)
    store.merge("a", {"x": "y" * 900}).result(5)
    with pytest.raises(BadInput, match="settings would take"):
        store.merge("a", {"z": "y" * 900}).result(5)
    store.merge("b", {"z": "y" * 900}).result(5)
    assert list(store.all("a")) == ["x"]
    database.close()

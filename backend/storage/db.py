"""One SQLite file: migrations, one writing thread with group commit, reading connections of their own.

Durability: WAL with synchronous=FULL, so a transaction that was reported as done has been fsynced. Writers hand in
small functions; whatever waits together is committed together, which is one fsync for many requests. A writer that can do
without (`synced=False`: what is lost would only be done once more) survives a kill of this process all the same, but not
a power cut before the next fsync.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backend.base.errors import BadFile

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]

MIGRATIONS = Path(__file__).with_name("migrations")
_MOST_TOGETHER = 256
_CHECK_BELOW = 64 << 20


@dataclass(frozen=True, slots=True)
class _Job:
    work: Work
    done: Future[Any]
    before: tuple[_Job, ...] = ()
    synced: bool = True


class Database:
    """`Database(path)` opens or creates the file; a file that is no sound database is moved aside and said in `log`."""

    def __init__(self, path: Path, log: Callable[[str], None] = lambda text: None) -> None:
        self.path = path
        self._log = log
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lazy: deque[_Job] = deque()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._closed = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = self._open_or_replace()
        self._syncs = True
        self._thread = threading.Thread(target=self._write_loop, name="database-writer", daemon=True)
        self._thread.start()

    def write(self, work: Callable[[sqlite3.Connection], T], synced: bool = True) -> Future[T]:
        """Run `work` in the next transaction; the future is resolved after the commit (or carries the exception), and if `synced` is True
        after the disk has it."""
        done: Future[T] = Future()
        if self._closed:
            done.set_exception(sqlite3.ProgrammingError("the database is closed"))
        else:
            self._jobs.put(_Job(work, done, self._take_lazy(), synced))
        return done

    def later(self, work: Work) -> None:
        """Run `work` just before the next one that is handed to `write`, in its transaction. For what may be lost with a kill."""
        self._lazy.append(_Job(work, Future()))

    def _take_lazy(self) -> tuple[_Job, ...]:
        return tuple(self._lazy.popleft() for _ in range(len(self._lazy)))

    def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in this thread on a reading connection; it sees everything that was committed."""
        try:
            connection = self._readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.execute("PRAGMA query_only=ON")
        try:
            return work(connection)
        finally:
            self._readers.put(connection)

    def close(self) -> None:
        """Commit what waits, then close every connection. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(_Job(lambda connection: None, Future(), self._take_lazy()))  # a transaction for what `later` left
        self._jobs.put(None)
        self._thread.join()
        while not self._readers.empty():
            self._readers.get_nowait().close()
        self._writer.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=10.0, cached_statements=64)
        connection.execute("PRAGMA busy_timeout=10000")
        return connection

    def _open_or_replace(self) -> sqlite3.Connection:
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError) and not _is_damage(error):
                raise BadFile(
                    f"The database {self.path.name} cannot be opened: {error}.",
                    hint="Check that the folder is writable, the disk is not full and no other program holds the file.",
                ) from error
            aside = self._move_aside()
            self._log(f"The database was damaged ({error}). It is kept as {aside.name}; a new one was started.")
            return self._open()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            if self.path.stat().st_size < _CHECK_BELOW:
                (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
                if verdict != "ok":
                    raise sqlite3.DatabaseError(verdict)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA wal_autocheckpoint=2000")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self) -> Path:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
        count = 1
        while aside.exists():
            count += 1
            aside = self.path.with_name(f"{self.path.name}.damaged-{stamp}-{count}")
        for suffix in ("-wal", "-shm"):
            beside = self.path.with_name(self.path.name + suffix)
            if beside.exists():
                beside.rename(aside.with_name(aside.name + suffix))
        self.path.rename(aside)
        return aside

    def _write_loop(self) -> None:
        while (first := self._jobs.get()) is not None:
            batch = [first]
            stop = False
            while len(batch) < _MOST_TOGETHER:
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    stop = True
                    break
                batch.append(job)
            self._commit(batch)
            if stop:
                return

    def _commit(self, batch: list[_Job]) -> None:
        """One transaction; a job that raises is rolled back alone."""
        syncs = any(job.synced for job in batch)
        batch = [one for job in batch for one in (*job.before, job)]
        connection = self._writer
        results: list[tuple[_Job, Any, BaseException | None]] = []
        try:
            if syncs != self._syncs:
                connection.execute(f"PRAGMA synchronous={'FULL' if syncs else 'NORMAL'}")
                self._syncs = syncs
            connection.execute("BEGIN IMMEDIATE")
            for job in batch:
                results.append((job, *_attempt(connection, job.work)))
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            results = [(job, None, error) for job in batch]
        for job, value, failure in results:
            if failure is None:
                job.done.set_result(value)
            else:
                job.done.set_exception(failure)


def _attempt(connection: sqlite3.Connection, work: Work) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT one")
    try:
        value = work(connection)
    except Exception as error:  # noqa: BLE001  the caller gets it through its future
        if connection.in_transaction:
            connection.execute("ROLLBACK TO one")
            connection.execute("RELEASE one")
        return None, error
    connection.execute("RELEASE one")
    return value, None


def _is_damage(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)


def migrate(connection: sqlite3.Connection, folder: Path = MIGRATIONS) -> None:
    """Apply `NNN_*.sql` files with a number above the file's `user_version`, each in a transaction.

    Raises BadFile when the file was written by a newer version of the application.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    scripts = {int(path.name.split("_")[0]): path for path in folder.glob("[0-9]*_*.sql")}
    newest = max(scripts)
    if version > newest:
        raise BadFile(
            f"The database has version {version}, newer than the {newest} this program knows.",
            hint="Start the newer version again, or use another --user-directory.",
        )
    for number in sorted(scripts):
        if number > version:
            script = scripts[number].read_text(encoding="utf-8")
            connection.executescript(f"BEGIN;\n{script}\nPRAGMA user_version={number};\nCOMMIT;")

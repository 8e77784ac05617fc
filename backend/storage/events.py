"""The numbered event log: what happened in the runs, kept so that a client that was away can be told.

Rows hold a flush each: a compressed JSON array of `[number, job, client, event]`, where `event` is opaque JSON here.
"""

from __future__ import annotations

import json
import sqlite3
import time
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from backend.storage.db import Database

KEPT_BYTES = 32 << 20
KEPT_EVENTS = 200_000
_FLUSH_ITEMS = 2000
_PRUNE_EVERY = 200
_GAP = 10_000
_ROWS = 20


class EventLog:
    """`append` numbers an item at once; `flush` hands what gathered to the disk. Used from the event loop only."""

    def __init__(self, database: Database) -> None:
        self._database = database
        (last,) = database.read(lambda c: c.execute("SELECT coalesce(max(last), 0) FROM events").fetchone())
        # Numbers given out just before a kill may not have reached the disk: never give them out again.
        self.last: int = last + _GAP if last else 0
        self._open: list[tuple[int, str, str | None, Any]] = []
        self._writing: list[list[tuple[int, str, str | None, Any]]] = []
        self._flushes = 0

    def append(self, job: str, client: str | None, event: Any) -> int:
        """Number an event. `event` must be JSON-able and must not change afterwards."""
        self.last += 1
        self._open.append((self.last, job, client, event))
        if len(self._open) >= _FLUSH_ITEMS:
            self.flush()
        return self.last

    def flush(self) -> None:
        """Give the gathered items to the writer thread, one row."""
        if not self._open:
            return
        items, self._open = self._open, []
        self._writing.append(items)
        self._flushes += 1
        prune = self._flushes % _PRUNE_EVERY == 0

        def work(connection: sqlite3.Connection) -> None:
            body = zlib.compress(json.dumps(items, separators=(",", ":")).encode(), 1)
            connection.execute("INSERT INTO events(first, last, at, body) VALUES(?,?,?,?)", (items[0][0], items[-1][0], time.time(), body))
            if prune:
                _prune(connection)

        written = self._database.write(work, synced=False)  # runs are told again to who was away, not to who had a power cut
        written.add_done_callback(lambda _: self._writing.remove(items))

    def since(self, number: int, client: str | None = None, job: str | None = None) -> Iterator[tuple[int, str, str | None, Any]]:
        """Kept items numbered above `number`, oldest first, of one client and/or one job."""
        unwritten = [*(item for items in list(self._writing) for item in items), *self._open]
        seen = number
        while rows := self._database.read(partial(_rows_above, number=seen)):
            for last, body in rows:
                seen = last
                for at, of_job, of_client, event in json.loads(zlib.decompress(body)):
                    if at > number and (client is None or of_client == client) and (job is None or of_job == job):
                        yield at, of_job, of_client, event
        for at, of_job, of_client, event in unwritten:
            if at > seen and (client is None or of_client == client) and (job is None or of_job == job):
                yield at, of_job, of_client, event


def _rows_above(connection: sqlite3.Connection, number: int) -> list[tuple[int, bytes]]:
    return connection.execute(f"SELECT last, body FROM events WHERE last > ? ORDER BY first LIMIT {_ROWS}", (number,)).fetchall()


def _prune(connection: sqlite3.Connection) -> None:
    """Drop the oldest rows beyond either limit."""
    last, size = connection.execute("SELECT coalesce(max(last), 0), coalesce(sum(length(body)), 0) FROM events").fetchone()
    connection.execute("DELETE FROM events WHERE last <= ?", (last - KEPT_EVENTS,))
    while size > KEPT_BYTES:
        gone = connection.execute(
            "DELETE FROM events WHERE first IN (SELECT first FROM events ORDER BY first LIMIT 50) RETURNING length(body)"
        ).fetchall()
        if not gone:
            return
        size -= sum(row[0] for row in gone)

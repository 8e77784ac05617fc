"""Finished jobs, oldest first. Entries are composed from stored JSON text, never parsed here."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from typing import Any

from backend.storage.db import Database

KEPT = 10_000
_PRUNE_EVERY = 64
_PAGE = 100
_COLUMNS = "id, number, prompt, extra, targets, outputs, meta, status"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended. `state` is success, error or interrupted; the other fields are JSON text except `error`, a sentence."""

    state: str
    outputs: str
    meta: str
    status: str
    error: str | None = None


class History:
    """Any thread may call it; writing returns a future that is done after the commit."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since_prune = 0

    def finish(self, id: str, ending: Ending, at: float) -> Future[None]:
        """The job leaves the queue's rows and joins the history's end."""
        self._since_prune += 1
        prune = self._since_prune >= _PRUNE_EVERY
        if prune:
            self._since_prune = 0

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE jobs SET state=?, finished=(SELECT coalesce(max(finished), 0) + 1 FROM jobs), finished_at=?,"
                " outputs=?, meta=?, status=?, error=? WHERE id=?",
                (ending.state, at, ending.outputs, ending.meta, ending.status, ending.error, id),
            )
            if prune:
                connection.execute("DELETE FROM jobs WHERE finished <= (SELECT max(finished) FROM jobs) - ?", (KEPT,))

        return self._database.write(work)

    def entry(self, id: str) -> str:
        """JSON text `{id: entry}`, or `{}` when the id is unknown or has not ended."""
        row = self._database.read(lambda c: c.execute(f"SELECT {_COLUMNS} FROM jobs WHERE id=? AND finished IS NOT NULL", (id,)).fetchone())
        return "{}" if row is None else "{" + _entry(row) + "}"

    def page(self, max_items: int | None = None, offset: int = -1) -> Iterator[str]:
        """JSON text of an object keyed by id, oldest first, in pieces.

        `max_items` alone: the last so many. `offset` >= 0: skip so many of the oldest, then up to `max_items`.
        """
        first, last = self._database.read(lambda c: _bounds(c, max_items, offset))
        lead = "{"
        while first <= last:
            rows = self._database.read(partial(_rows, first=first, last=last))
            if not rows:
                break
            yield lead + ",".join(_entry(row) for row in rows)
            lead = ","
            first = rows[-1][-1] + 1
        yield "{}" if lead == "{" else "}"

    def job(self, id: str) -> dict[str, Any] | None:
        """State, attempts and error of any job that is known."""
        row = self._database.read(
            lambda c: c.execute("SELECT state, attempts, error, created, finished_at, number FROM jobs WHERE id=?", (id,)).fetchone()
        )
        if row is None:
            return None
        names = ("state", "attempts", "error", "created", "finished", "number")
        return {"id": id, **dict(zip(names, row))}

    def delete(self, ids: list[str]) -> Future[None]:
        """Forget these entries; unknown ids are ignored."""

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("DELETE FROM jobs WHERE id=? AND finished IS NOT NULL", [(id,) for id in ids])

        return self._database.write(work)

    def clear(self) -> Future[None]:
        """Forget all entries."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM jobs WHERE finished IS NOT NULL")

        return self._database.write(work)


def _bounds(connection: sqlite3.Connection, max_items: int | None, offset: int) -> tuple[int, int]:
    """First and last `finished` of the page; an empty page has first > last."""
    (count,) = connection.execute("SELECT count(*) FROM jobs WHERE finished IS NOT NULL").fetchone()
    if max_items is not None and offset < 0:
        offset = count - max_items
    offset = max(offset, 0)
    wanted = count - offset if max_items is None else min(max_items, count - offset)
    if wanted <= 0:
        return 1, 0
    at = "SELECT finished FROM jobs WHERE finished IS NOT NULL ORDER BY finished LIMIT 1 OFFSET ?"
    (first,) = connection.execute(at, (offset,)).fetchone()
    (last,) = connection.execute(at, (offset + wanted - 1,)).fetchone()
    return first, last


def _rows(connection: sqlite3.Connection, first: int, last: int) -> list[tuple[Any, ...]]:
    sql = f"SELECT {_COLUMNS}, finished FROM jobs WHERE finished BETWEEN ? AND ? ORDER BY finished LIMIT {_PAGE}"
    return connection.execute(sql, (first, last)).fetchall()


def _entry(row: tuple[Any, ...]) -> str:
    id, number, prompt, extra, targets, outputs, meta, status = row[:8]
    name = json.dumps(id)
    return (
        f'{name}:{{"prompt":[{json.dumps(number)},{name},{prompt},{extra},{targets}],"outputs":{outputs},"meta":{meta},"status":{status}}}'
    )

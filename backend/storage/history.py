"""Finished jobs, oldest first. Entries are composed from stored JSON text, never parsed here."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
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


@dataclass(frozen=True, slots=True)
class Found:
    """A finished job as a search tells it. `position` rises with time; `outputs` is JSON text; times are seconds since 1970."""

    id: str
    state: str
    number: int | float
    created: float
    finished: float
    error: str | None
    client: str | None
    position: int
    outputs: str


@dataclass(frozen=True, slots=True)
class Kept:
    """How much history stays: entries, days (0: no limit) and bytes of JSON (0: no limit). Files are never removed with their entry."""

    entries: int = KEPT
    days: float = 0.0
    bytes: int = 0


class History:
    """Any thread may call it; writing returns a future that is done after the commit."""

    def __init__(self, database: Database, kept: Kept | None = None) -> None:
        self._database = database
        self._kept = kept or Kept()
        self._since_prune = 0
        self.ended: Counter[str] = Counter()

    def finish(self, id: str, ending: Ending, at: float) -> Future[None]:
        """The job leaves the queue's rows and joins the history's end."""
        self.ended[ending.state] += 1
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
                _prune(connection, self._kept, at)

        return self._database.write(work, synced=False)  # a power cut may run the job again; nothing else may

    def entry(self, id: str, owner: str | None = None) -> str:
        """JSON text `{id: entry}`, or `{}` when the id is unknown, has not ended, or belongs to another than `owner` (None: anybody's)."""
        where = "id=? AND finished IS NOT NULL" + ("" if owner is None else " AND owner=?")
        values = (id,) if owner is None else (id, owner)
        row = self._database.read(lambda c: c.execute(f"SELECT {_COLUMNS} FROM jobs WHERE {where}", values).fetchone())
        return "{}" if row is None else "{" + _entry(row) + "}"

    def page(self, max_items: int | None = None, offset: int = -1, owner: str | None = None) -> Iterator[str]:
        """JSON text of an object keyed by id, oldest first, in pieces.

        `max_items` alone: the last so many. `offset` >= 0: skip so many of the oldest, then up to `max_items`.
        """
        first, last = self._database.read(lambda c: _bounds(c, max_items, offset, owner))
        lead = "{"
        while first <= last:
            rows = self._database.read(partial(_rows, first=first, last=last, owner=owner))
            if not rows:
                break
            yield lead + ",".join(_entry(row) for row in rows)
            lead = ","
            first = rows[-1][-1] + 1
        yield "{}" if lead == "{" else "}"

    def job(self, id: str) -> dict[str, Any] | None:
        """State, attempts and error of any job that is known."""
        columns = "state, attempts, error, created, finished_at, number, owner"
        row = self._database.read(lambda c: c.execute(f"SELECT {columns} FROM jobs WHERE id=?", (id,)).fetchone())
        if row is None:
            return None
        names = ("state", "attempts", "error", "created", "finished", "number", "owner")
        return {"id": id, **dict(zip(names, row))}

    def document(self, id: str) -> tuple[str, str, str] | None:
        """Prompt, extra data and targets of a job as JSON text."""
        found: tuple[str, str, str] | None = self._database.read(
            lambda c: c.execute("SELECT prompt, extra, targets FROM jobs WHERE id=?", (id,)).fetchone()
        )
        return found

    def search(self, text: str = "", state: str = "", owner: str | None = None, before: int | None = None, limit: int = 50) -> list[Found]:
        """Finished jobs, newest first, whose graph, id or error contains `text`; the next page comes with `before` = the last position."""
        where, values = ["finished IS NOT NULL"], list[Any]()
        for condition, value in (("state=?", state or None), ("owner=?", owner), ("finished<?", before)):
            if value is not None:
                where.append(condition)
                values.append(value)
        if text:
            where.append("(instr(lower(prompt), ?) OR instr(lower(id), ?) OR instr(lower(coalesce(error, '')), ?))")
            values += [text.lower()] * 3
        sql = f"SELECT id, state, number, created, finished_at, error, client, finished, outputs FROM jobs WHERE {' AND '.join(where)}"
        rows = self._database.read(lambda c: c.execute(f"{sql} ORDER BY finished DESC LIMIT ?", (*values, limit)).fetchall())
        return [Found(*row) for row in rows]

    def delete(self, ids: list[str], owner: str | None = None) -> Future[None]:
        """Forget these entries; unknown ids, and those of others than `owner`, are ignored."""
        own = "" if owner is None else " AND owner=?"
        rows = [(id,) if owner is None else (id, owner) for id in ids]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(f"DELETE FROM jobs WHERE id=? AND finished IS NOT NULL{own}", rows)

        return self._database.write(work)

    def clear(self, owner: str | None = None) -> Future[None]:
        """Forget all entries, or all of one owner."""

        def work(connection: sqlite3.Connection) -> None:
            own, values = ("", ()) if owner is None else (" AND owner=?", (owner,))
            connection.execute(f"DELETE FROM jobs WHERE finished IS NOT NULL{own}", values)

        return self._database.write(work)

    def prune(self, now: float) -> Future[None]:
        """Forget what is beyond the limits."""
        return self._database.write(lambda connection: _prune(connection, self._kept, now))


def _prune(connection: sqlite3.Connection, kept: Kept, now: float) -> None:
    connection.execute("DELETE FROM jobs WHERE finished <= (SELECT max(finished) FROM jobs) - ?", (kept.entries,))
    if kept.days > 0:
        connection.execute("DELETE FROM jobs WHERE finished IS NOT NULL AND finished_at < ?", (now - kept.days * 86400,))
    if kept.bytes > 0:
        size = "length(prompt) + length(extra) + length(coalesce(outputs, '')) + length(coalesce(status, ''))"
        running = f"SELECT finished, sum({size}) OVER (ORDER BY finished DESC) AS upto FROM jobs WHERE finished IS NOT NULL"
        connection.execute(f"DELETE FROM jobs WHERE finished IN (SELECT finished FROM ({running}) WHERE upto > ?)", (kept.bytes,))


def _bounds(connection: sqlite3.Connection, max_items: int | None, offset: int, owner: str | None) -> tuple[int, int]:
    """First and last `finished` of the page; an empty page has first > last."""
    own, who = ("", ()) if owner is None else (" AND owner=?", (owner,))
    (count,) = connection.execute(f"SELECT count(*) FROM jobs WHERE finished IS NOT NULL{own}", who).fetchone()
    if max_items is not None and offset < 0:
        offset = count - max_items
    offset = max(offset, 0)
    wanted = count - offset if max_items is None else min(max_items, count - offset)
    if wanted <= 0:
        return 1, 0
    at = f"SELECT finished FROM jobs WHERE finished IS NOT NULL{own} ORDER BY finished LIMIT 1 OFFSET ?"
    (first,) = connection.execute(at, (*who, offset)).fetchone()
    (last,) = connection.execute(at, (*who, offset + wanted - 1)).fetchone()
    return first, last


def _rows(connection: sqlite3.Connection, first: int, last: int, owner: str | None) -> list[tuple[Any, ...]]:
    own, who = ("", ()) if owner is None else (" AND owner=?", (owner,))
    sql = f"SELECT {_COLUMNS}, finished FROM jobs WHERE finished BETWEEN ? AND ?{own} ORDER BY finished LIMIT {_PAGE}"
    return connection.execute(sql, (first, last, *who)).fetchall()


def _entry(row: tuple[Any, ...]) -> str:
    id, number, prompt, extra, targets, outputs, meta, status = row[:8]
    name = json.dumps(id)
    return (
        f'{name}:{{"prompt":[{json.dumps(number)},{name},{prompt},{extra},{targets}],"outputs":{outputs},"meta":{meta},"status":{status}}}'
    )

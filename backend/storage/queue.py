"""The queue: a heap in memory for order, rows on disk for truth.

`submit` resolves after the commit, so a job that was accepted survives a kill. Jobs that were running when the process
ended are queued again by `recover`, at most `MOST_ATTEMPTS` times.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from backend.base.errors import Refused
from backend.storage.db import Database

MOST_ATTEMPTS = 3


@dataclass(slots=True)
class QueuedJob:
    """An accepted job. `prompt`, `extra` and `targets` are JSON text: the front passes them on without reading them again.

    `secrets` are the parts of `extra` that are never written to disk (JSON text of an object, or "").
    """

    id: str
    number: int | float
    client: str | None
    prompt: str
    extra: str
    targets: str
    created: float
    attempts: int = 0
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int | float, str]:
        """Lowest first; equal numbers by id."""
        return (self.number, self.id)


class Duplicate(Refused):
    """A job with this id exists already."""


class Queue:
    """Used from one thread (the front's event loop). Disk work is handed to the database's writer thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heap: list[tuple[int | float, str]] = []
        self.pending: dict[str, QueuedJob] = {}
        self.running: dict[str, QueuedJob] = {}
        self._closing: set[str] = set()

    def __len__(self) -> int:
        return len(self.pending) + len(self.running) + len(self._closing)

    def submit(self, job: QueuedJob, replace: bool = False) -> Future[None]:
        """Write the job; call `enqueue` once the future is done. It carries Duplicate when the id is known.

        `replace` allows the id of a *finished* job to be used again.
        """
        if job.id in self.pending or job.id in self.running:
            raise _duplicate(job.id)

        def work(connection: sqlite3.Connection) -> None:
            if replace:
                connection.execute("DELETE FROM jobs WHERE id=? AND finished IS NOT NULL", (job.id,))
            try:
                connection.execute(
                    "INSERT INTO jobs(id, number, state, client, prompt, extra, targets, created) VALUES(?,?,'pending',?,?,?,?,?)",
                    (job.id, job.number, job.client, job.prompt, job.extra, job.targets, job.created),
                )
            except sqlite3.IntegrityError as error:
                raise _duplicate(job.id) from error

        return self._database.write(work)

    def enqueue(self, job: QueuedJob) -> None:
        """Put a written job in line."""
        self.pending[job.id] = job
        heapq.heappush(self._heap, job.order)

    def in_heap_order(self) -> list[QueuedJob]:
        """The waiting jobs as the heap holds them (the published order of the queue listing)."""
        return [self.pending[id] for _, id in self._heap]

    def take(self) -> QueuedJob | None:
        """The first job in line becomes running and its attempt is counted; None when nothing waits."""
        if not self._heap:
            return None
        _, id = heapq.heappop(self._heap)
        job = self.pending.pop(id)
        job.attempts += 1
        self.running[id] = job
        self._database.later(self._state(job, "running"))  # the events of its run bring it to the disk in a moment
        return job

    def put_back(self, job: QueuedJob, count_attempt: bool = True) -> Future[None]:
        """A running job waits again, because the worker died (counted) or the server stops (not counted)."""
        self.running.pop(job.id, None)
        if not count_attempt:
            job.attempts -= 1
        self.enqueue(job)
        return self._database.write(self._state(job, "pending"))

    def close(self, id: str) -> None:
        """The job has ended and gives its place to the next. It counts until `closed`, so that who sees an empty queue finds every job
        in the history."""
        if self.running.pop(id, None) is not None:
            self._closing.add(id)

    def closed(self, id: str) -> None:
        """The history has the job's row."""
        self._closing.discard(id)

    def delete(self, ids: list[str]) -> bool:
        """Drop waiting jobs; unknown and running ids are ignored. True when something was dropped."""
        gone = [id for id in ids if self.pending.pop(id, None) is not None]
        if not gone:
            return False
        self._heap = [entry for entry in self._heap if entry[1] in self.pending]
        heapq.heapify(self._heap)
        self._database.write(lambda c: c.executemany("DELETE FROM jobs WHERE id=? AND state='pending'", [(id,) for id in gone]))
        return True

    def clear(self) -> bool:
        """Drop every waiting job. True when there were any."""
        return self.delete(list(self.pending))

    def recover(self) -> list[tuple[QueuedJob, bool]]:
        """Read the jobs a former process left. Returns those that were running, True where they may run again.

        Those that may are in line already; the others must be finished by the caller with an error that says so.
        """
        columns = "id, number, client, prompt, extra, targets, created, attempts, state"

        def work(connection: sqlite3.Connection) -> list[tuple[QueuedJob, bool]]:
            rows = connection.execute(f"SELECT {columns} FROM jobs WHERE finished IS NULL").fetchall()
            return [(QueuedJob(*row[:8]), row[8] == "running") for row in rows]

        interrupted = []
        for job, was_running in self._database.read(work):
            if not was_running:
                self.enqueue(job)
                continue
            again = job.attempts < MOST_ATTEMPTS
            interrupted.append((job, again))
            if again:
                self.enqueue(job)
                self._database.write(self._state(job, "pending"))
            else:
                self.running[job.id] = job
        return interrupted

    def _state(self, job: QueuedJob, state: str) -> Callable[[sqlite3.Connection], None]:
        values = (state, job.attempts, job.id)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE jobs SET state=?, attempts=? WHERE id=? AND finished IS NULL", values)

        return work


def _duplicate(id: str) -> Duplicate:
    return Duplicate(f"A job with the id {id[:80]!r} exists already.", hint="Leave prompt_id out, or choose a new one for every job.")

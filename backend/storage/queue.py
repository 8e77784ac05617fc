"""The queue: a heap in memory for order, rows on disk for truth.

`submit` resolves after the commit, so a job that was accepted survives a kill. Jobs that were running when the process
ended are queued again by `recover`, at most `MOST_ATTEMPTS` times.
"""

from __future__ import annotations

import heapq
import itertools
import math
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
    owner: str | None = None
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int | float, str]:
        """Lowest first; equal numbers by id."""
        return (self.number, self.id)


class Duplicate(Refused):
    """A job with this id exists already."""


class NotWaiting(Refused):
    """The job has begun or ended, so what only a waiting job allows comes too late."""


class Queue:
    """Used from one thread (the front's event loop). Disk work is handed to the database's writer thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._heap: list[tuple[int | float, str]] = []
        self.pending: dict[str, QueuedJob] = {}
        self.running: dict[str, QueuedJob] = {}
        self._closing: set[str] = set()
        self.on_change: Callable[[], None] = lambda: None
        """Called when waiting jobs were dropped, moved or edited."""

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
                    "INSERT INTO jobs(id, number, state, client, prompt, extra, targets, created, owner) VALUES(?,?,'pending',?,?,?,?,?,?)",
                    (job.id, job.number, job.client, job.prompt, job.extra, job.targets, job.created, job.owner),
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

    def in_line(self) -> list[QueuedJob]:
        """The waiting jobs in the order in which they will run."""
        return [self.pending[id] for _, id in sorted(self._heap)]

    def first(self) -> QueuedJob | None:
        """The job that will run next, as it stands now."""
        return self.pending[self._heap[0][1]] if self._heap else None

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
        self.on_change()
        return True

    def clear(self) -> bool:
        """Drop every waiting job. True when there were any."""
        return self.delete(list(self.pending))

    def place(self, ids: list[str], before: str | None = None) -> Future[None] | None:
        """Put these waiting jobs, in this order, right before another one, or first of all; None when nothing of that waits.

        Their numbers change so that they lie between their new neighbours. Where there is no room every waiting job gets a new one, none
        above those given out, so that jobs to come still go to the end.
        """
        moved = [self.pending[id] for id in dict.fromkeys(ids) if id in self.pending]
        rest = [job for job in self.in_line() if job.id not in set(ids)]
        if not moved or (before is not None and all(job.id != before for job in rest)):
            return None
        at = 0 if before is None else next(i for i, job in enumerate(rest) if job.id == before)
        low = rest[at - 1].number if at > 0 else None
        high = rest[at].number if at < len(rest) else None
        numbers = _between(low, high, len(moved))
        if numbers is None:
            line = [*rest[:at], *moved, *rest[at:]]
            first = math.floor(min(job.number for job in line)) - len(line)
            numbers = [first + i for i in range(len(line))]
            moved = line
        for job, number in zip(moved, numbers):
            job.number = number
        return self._renumbered(moved)

    def renumber(self, id: str, number: int | float) -> Future[None] | None:
        """Give a waiting job another priority; None when it does not wait."""
        job = self.pending.get(id)
        if job is None:
            return None
        job.number = number
        return self._renumbered([job])

    def _renumbered(self, jobs: list[QueuedJob]) -> Future[None]:
        self._heap = [job.order for job in self.pending.values()]
        heapq.heapify(self._heap)
        self.on_change()
        rows = [(job.number, job.id) for job in jobs]

        def work(connection: sqlite3.Connection) -> None:
            connection.executemany("UPDATE jobs SET number=? WHERE id=? AND finished IS NULL", rows)

        return self._database.write(work)

    def edit(self, id: str, prompt: str, extra: str, targets: str) -> Future[None] | None:
        """Let a waiting job run another graph; None when it does not wait (any more)."""
        job = self.pending.get(id)
        if job is None:
            return None
        job.prompt, job.extra, job.targets = prompt, extra, targets
        self.on_change()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE jobs SET prompt=?, extra=?, targets=? WHERE id=? AND finished IS NULL", (prompt, extra, targets, id))

        return self._database.write(work)

    def recover(self) -> list[tuple[QueuedJob, bool]]:
        """Read the jobs a former process left. Returns those that were running, True where they may run again.

        Those that may are in line already; the others must be finished by the caller with an error that says so.
        """
        columns = "id, number, client, prompt, extra, targets, created, attempts, owner, state"

        def work(connection: sqlite3.Connection) -> list[tuple[QueuedJob, bool]]:
            rows = connection.execute(f"SELECT {columns} FROM jobs WHERE finished IS NULL").fetchall()
            return [(QueuedJob(*row[:9]), row[9] == "running") for row in rows]

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


def _between(low: int | float | None, high: int | float | None, count: int) -> list[int | float] | None:
    """`count` rising numbers strictly between two others (None: no bound on that side), or None where there is no room."""
    if low is None or high is None:
        if low is not None:
            return [math.floor(low) + 1 + i for i in range(count)]
        top = 0 if high is None else math.ceil(high)
        return [top - count + i for i in range(count)]
    step = (high - low) / (count + 1)
    numbers: list[int | float] = [low + step * (i + 1) for i in range(count)]
    line = [low, *numbers, high]
    return numbers if all(a < b for a, b in itertools.pairwise(line)) else None


def _duplicate(id: str) -> Duplicate:
    return Duplicate(f"A job with the id {id[:80]!r} exists already.", hint="Leave prompt_id out, or choose a new one for every job.")

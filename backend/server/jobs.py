"""The life of a job in the front: accepted, run by the worker, told to its client, written to the history."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from backend.base import events as ev
from backend.base.errors import Problem
from backend.server import wire
from backend.server.hub import Hub
from backend.server.wire import Picture, RunWire
from backend.storage.events import EventLog
from backend.storage.history import Ending, History
from backend.storage.queue import MOST_ATTEMPTS, Queue, QueuedJob

_UNKEPT = frozenset({ev.Progress.code, ev.NodeText.code, ev.PackEvent.code})
_END = "end"
_FLUSH_S = 0.25
RENEW_AFTER_S = 3.0
"""Of quiet after everything was freed, until the workers' processes are exchanged."""
_MODEL_FILE = re.compile(r'"([^"\\]+\.(?:safetensors|ckpt|pt|pth|bin|gguf))"')


class Worker(Protocol):
    """What the front needs of a worker, wherever it runs."""

    ready: asyncio.Event

    def run(self, about: str, prompt: str) -> None: ...
    def cancel(self, id: str) -> None: ...
    def ended(self, id: str) -> None: ...
    def comes(self, files: Collection[str]) -> None: ...
    def free(self, unload_models: bool, free_memory: bool) -> None: ...
    def renew(self) -> None: ...
    async def call(self, method: str, args: Any, timeout: float) -> Any: ...


@dataclass(eq=False, slots=True)
class _Run:
    """A job that a worker has."""

    job: QueuedJob
    wire: RunWire
    worker: Worker


class Jobs:
    """Owns the order of things between queue, workers, sockets, event log and history. Lives on the event loop.

    Jobs begin in the order of the queue. Each worker has one at a time; with several workers they run side by side.
    """

    def __init__(self, queue: Queue, history: History, log: EventLog, hub: Hub, say: Callable[[str], None]) -> None:
        self.queue, self.history, self.log, self.hub = queue, history, log, hub
        self._say = say
        self.workers: list[Worker] = []
        self._runs: dict[str, _Run] = {}
        self._files: dict[Worker, frozenset[str]] = {}
        self._told_next: tuple[str | None, frozenset[str]] = (None, frozenset())  # the graph in line, and its files, as told
        self._starved: set[str] = set()  # jobs whose process was ended for want of memory, to be tried with less
        self._flush_due: asyncio.TimerHandle | None = None
        self._begun = 0  # jobs that were given to a worker so far
        self._ending = 0  # jobs that no worker has any more, whose history is being written
        self._idle = asyncio.Event()
        self._idle.set()
        self._paused = False
        self.held = False
        queue.on_change = self._line_changed

    @property
    def worker(self) -> Worker | None:
        """The worker that answers questions: the first."""
        return self.workers[0] if self.workers else None

    @property
    def running(self) -> list[tuple[QueuedJob, str | None]]:
        """The jobs the workers have, the longest running first, each with the visible node that runs now."""
        return [(run.job, run.wire.current) for run in self._runs.values()]

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Have the workers let go of models, and of results with `free_memory`. A worker that is away holds nothing."""
        for worker in self.workers:
            with contextlib.suppress(Problem):
                worker.free(unload_models, free_memory)
        if unload_models and free_memory:
            asyncio.get_running_loop().call_later(RENEW_AFTER_S, self._renew, self._begun)

    def _renew(self, begun: int) -> None:
        """Everything was to be freed and no job has come since: processes that hold nothing any more make place for fresh ones, and what
        libraries keep for themselves, a device's context too, goes with them."""
        if begun == self._begun and not self._runs and not len(self.queue) and not self._paused:
            for worker in self.workers:
                worker.renew()

    async def submit(self, job: QueuedJob, replace: bool = False) -> None:
        """Accept a job: returns after the commit. Raises Duplicate, or a Problem when the disk refuses."""
        await asyncio.wrap_future(self.queue.submit(job, replace))
        self.queue.enqueue(job)
        self.hub.status(job.client)
        self.kick()

    def hold(self, held: bool) -> None:
        """Start no further job until it is called with False; the running one goes on."""
        self.held = held
        self.kick()

    def kick(self) -> None:
        """Give workers that are free their next jobs."""
        while (job := self._start_next()) is not None:
            self.hub.status(job.client)
        self._tell_next()

    def _line_changed(self) -> None:
        """Waiting jobs were dropped, moved or edited."""
        self._starved &= self.queue.pending.keys() | self.queue.running.keys()
        self._tell_next()

    def _tell_next(self) -> None:
        """Say to a worker that is the only one which model files the next job names, so that it can plan beyond the present one."""
        if len(self.workers) != 1 or not self._runs:
            return
        job = self.queue.first()
        prompt, (before, told) = job.prompt if job is not None else None, self._told_next
        if prompt is before:
            return
        files = frozenset(_MODEL_FILE.findall(prompt or ""))
        self._told_next = (prompt, files)
        if files != told:
            with contextlib.suppress(Problem):  # it has just died; the next one plans without
                self.workers[0].comes(sorted(files))

    def _start_next(self) -> QueuedJob | None:
        if self._paused or self.held:
            return None
        busy = {run.worker for run in self._runs.values()}
        free = [worker for worker in self.workers if worker not in busy and worker.ready.is_set()]
        job = self.queue.take() if free else None
        if job is None:
            return None
        worker = self._nearest(free, job)
        self._begun += 1
        self._runs[job.id] = _Run(job, RunWire(job.id, time.monotonic), worker)
        self._idle.clear()
        extra = job.extra if not job.secrets else json.dumps({**json.loads(job.extra), **job.secrets})
        try:
            lean = json.dumps(job.id in self._starved)
            worker.run(f'{{"id":{json.dumps(job.id)},"targets":{job.targets},"extra":{extra},"lean":{lean}}}', job.prompt)
        except Problem:  # it has just died: on_death is on its way and decides
            self._say(f"The worker went away before job {job.id} reached it.")
        return job

    def _nearest(self, free: list[Worker], job: QueuedJob) -> Worker:
        """The free worker whose last job used most of the model files of this one: it holds them already."""
        if len(self.workers) == 1:
            return free[0]
        files = frozenset(_MODEL_FILE.findall(job.prompt))
        best = max(free, key=lambda worker: len(files & self._files.get(worker, frozenset())))
        self._files[best] = files
        return best

    def interrupt(self, id: str) -> None:
        """Cancel a running job."""
        if (run := self._runs.get(id)) is not None:
            run.worker.cancel(id)

    def on_events(self, id: str, batch: list[list[Any]]) -> None:
        """Store and tell what happened in a run."""
        if not id:  # said by a pack outside of any run
            for event in map(ev.from_json, batch):
                if isinstance(event, ev.PackEvent):
                    to = wire.EVERYONE if event.client is None else wire.CLIENT_ALONE
                    self.hub.send(event.client, wire.message(event.type, event.data, to, lasting=False))
            return
        run = self._runs.get(id)
        if run is None:
            return
        for row in batch:
            self._tell(run.job, run.wire, row)
        self._flush_soon()

    def on_picture(self, header: Mapping[str, Any], data: bytes) -> None:
        """Pass a picture on, with its step."""
        found = self._runs.get(header["id"])
        if found is None:
            return
        job, run, node = found.job, found.wire, header["node"]
        display, parent, real = run.place(node)
        progress = ev.Progress(node, header["value"], header["total"])
        for frame in run.state_frames(progress):
            self.hub.send(job.client, frame, self.log.last)
        picture = Picture(job.id, node, display, parent, real, header["format"], data)
        self.hub.send_picture(job.client, picture, run.progress_frame(progress), self.log.last)

    async def on_done(self, id: str) -> None:
        """The worker has finished a job and sent all its events."""
        if (run := self._runs.get(id)) is not None:
            await self._finish(run.job, run.wire)

    async def on_death(
        self, worker: Worker, cause: str, hint: str, cancelled: bool, doing: tuple[str, str] | None, starved: bool = False
    ) -> None:
        """A worker is gone. Its job runs again, unless it was cancelled or has had its attempts. `doing`: job and node that ran;
        `starved`: memory was the likely cause, so it is run with less."""
        self._files.pop(worker, None)
        self._told_next = (None, frozenset())
        found = next((run for run in self._runs.values() if run.worker is worker), None)
        if found is None:
            return
        job, run = found.job, found.wire
        if doing is not None and doing[0] == job.id:
            run.current = doing[1]
        node = run.current or ""
        type = _node_type(job, node)
        now = _now_ms()
        if cancelled:
            self._tell_start(job, run)
            self._tell(job, run, ev.to_json(ev.RunInterrupted(node, type, (), now)))
            await self._finish(job, run)
            return
        if job.attempts < MOST_ATTEMPTS:
            if starved:
                self._starved.add(job.id)
            self._say(f"Job {job.id} is queued again after attempt {job.attempts} of {MOST_ATTEMPTS}: {cause}")
            self._over(job)
            await asyncio.wrap_future(self.queue.put_back(job))
            self.hub.status(job.client)
            self.kick()  # another worker may be free
            self._rest()
            return
        await self.give_up(job, cause, hint, run)

    async def give_up(self, job: QueuedJob, cause: str, hint: str, run: RunWire | None = None) -> None:
        """End a job with an error that is not a node's: its process died too often."""
        run = run or RunWire(job.id, time.monotonic)
        node = run.current or ""
        tries = f"{cause} This was attempt {job.attempts} of {MOST_ATTEMPTS}; the job is not tried again."
        type = _node_type(job, node)
        self._tell_start(job, run)
        failed = ev.RunFailed(node, type, "WorkerDied", tries, hint, (), {}, (), tuple(json.loads(job.prompt)), _now_ms())
        self._tell(job, run, ev.to_json(failed))
        await self._finish(job, run)

    def _over(self, job: QueuedJob) -> None:
        """No worker has this job any more."""
        run = self._runs.pop(job.id, None)
        if run is not None:
            run.worker.ended(job.id)

    def _rest(self) -> None:
        if not self._runs and not self._ending:
            self._idle.set()

    async def stop(self, drain_s: float) -> None:
        """Take no further job; let those that run end within `drain_s`, else put them back in line."""
        self._paused = True
        try:
            await asyncio.wait_for(self._idle.wait(), drain_s)
        except TimeoutError:
            for job, _ in self.running:
                self._runs.pop(job.id, None)
                self._say(f"Job {job.id} waits for the next start.")
                await asyncio.wrap_future(self.queue.put_back(job, count_attempt=False))
        self._flush()

    def _tell_start(self, job: QueuedJob, run: RunWire) -> None:
        """A process that dies at once takes its first events with it: no run ends without having begun."""
        if not run.messages:
            self._tell(job, run, ev.to_json(ev.RunStarted(_now_ms())))

    def _tell(self, job: QueuedJob, run: RunWire, row: list[Any]) -> None:
        seq = self.log.last
        if row[0] not in _UNKEPT:
            seq = self.log.append(job.id, job.client, row)
        event = ev.from_json(row)
        if isinstance(event, ev.NodeLog):
            self._say(f"[{event.node}] {event.text}")
        sid = event.client if isinstance(event, ev.PackEvent) else job.client
        for frame in run.translate(event):
            if isinstance(frame, bytes):
                self.hub.send_text(sid, frame)
            else:
                self.hub.send(sid, frame, seq)

    async def _finish(self, job: QueuedJob, run: RunWire) -> None:
        """Free the worker for its next job at once; then the history, and after it the frame that says it is there."""
        self._starved.discard(job.id)
        written = self.history.finish(job.id, _ending(run), time.time())
        self.queue.close(job.id)
        self._over(job)
        self._ending += 1
        following = self._start_next()
        self._tell_next()
        try:
            await asyncio.wrap_future(written)
        except sqlite3.Error as error:
            self._say(f"The history entry of job {job.id} could not be written: {error}.")
        self.queue.closed(job.id)
        self.hub.status(job.client)
        self._flush_soon()
        self.hub.send(job.client, wire.end_of_run(job.id), self.log.append(job.id, job.client, [_END]))
        if following is not None:
            self.hub.status(following.client)
        self._ending -= 1
        self._rest()

    def replay(self, since: int, client: str | None) -> list[tuple[int, bytes]]:
        """Numbered frames a client missed; with None those of every run. Reads the disk: call it in a thread."""
        if since > self.log.last:
            since = 0  # numbers of a database that is no more
        frames: list[tuple[int, bytes]] = []
        runs: dict[str, RunWire] = {}
        for seq, job, _, row in self.log.since(since, client=client):
            if row[0] == _END:
                frames.append((seq, wire.end_of_run(job).frame(seq)))
                continue
            run = runs.setdefault(job, RunWire(job, time.monotonic))
            frames.extend((seq, message.frame(seq)) for message in run.replayed(ev.from_json(row)))
        return frames

    def story(self, id: str) -> list[dict[str, Any]]:
        """What happened in a run, in our own words: why nodes ran, how long they took. Reads the disk: call it in a thread."""
        kinds = {code: kind.__name__ for code, kind in ev.KINDS.items()}
        told = []
        for seq, _, _, row in self.log.since(0, job=id):
            if row[0] in kinds:
                event = ev.from_json(row)
                told.append({"seq": seq, "event": kinds[row[0]], **{f: getattr(event, f) for f in event.__dataclass_fields__}})
        return told

    def _flush_soon(self) -> None:
        if self._flush_due is None:
            self._flush_due = asyncio.get_running_loop().call_later(_FLUSH_S, self._flush)

    def _flush(self) -> None:
        if self._flush_due is not None:
            self._flush_due.cancel()
            self._flush_due = None
        self.log.flush()


def _ending(run: RunWire) -> Ending:
    """What the history keeps of a run."""
    last = run.messages[-1][0] if run.messages else ""
    ok = last == "execution_success"
    status = {"status_str": "success" if ok else "error", "completed": ok, "messages": run.messages}
    error = run.messages[-1][1]["exception_message"].strip() if last == "execution_error" else None
    state = "success" if ok else "interrupted" if last == "execution_interrupted" else "error"
    return Ending(state, wire.dump(run.outputs), wire.dump(run.meta), wire.dump(status), error)


def _node_type(job: QueuedJob, node: str) -> str:
    found = json.loads(job.prompt).get(node)
    return str(found.get("class_type", "")) if isinstance(found, dict) else ""


def _now_ms() -> int:
    return int(time.time() * 1000)

"""A worker on this machine: one supervised child process that is restarted when it dies.

All methods belong to the front's event loop. The owner hands in three functions: `on_frame` for what the worker says,
`on_death` when it ended unasked, `on_log` for each line it printed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from backend.base.errors import NotInstalled, Problem
from backend.workers.beacon import VARIABLE, Beacon
from backend.workers.death import Death, explain, hang, not_cancelled
from backend.workers.flood import Flood
from backend.workers.protocol import Frame, job_frame, message_frame, read_frame

_PIPE_LIMIT = 1 << 20
_MOST_LINE = 16 << 10
_QUICK_START_S = 20.0  # a child that starts faster is exchanged for a fresh one without much ado


class WorkerAway(NotInstalled):
    """The worker is starting, has died, or did not answer in time."""


class LocalWorker:
    """`command` starts the child; `beacon` is the file in which it shows what it does; `silence_s` without a frame counts as a hang;
    `grace_s` is what a cancel may take."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        on_frame: Callable[[Frame], Awaitable[None]],
        on_death: Callable[[Death], Awaitable[None]],
        on_log: Callable[[str], None],
        beacon: Path,
        env: Mapping[str, str] | None = None,
        silence_s: float = 60.0,
        start_s: float = 600.0,
        grace_s: float = 5.0,
    ) -> None:
        self._command = list(command)
        self.env = dict(os.environ if env is None else env)
        """Of the next child."""
        self._on_frame, self._on_death, self._on_log = on_frame, on_death, on_log
        self._silence, self._start_limit, self._grace = silence_s, start_s, grace_s
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_call = 0
        self._heard = 0.0
        self._killed_for: Death | None = None
        self._stopping = False
        self._cancels: dict[str, asyncio.TimerHandle] = {}
        self._beacon = Beacon.create(beacon)
        self.ready = asyncio.Event()
        self.restarts = 0
        self._renewing = self._used = False
        self._started = 0.0
        self._start_took = 0.0

    @property
    def pid(self) -> int | None:
        """Process id of the living child."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def start(self) -> None:
        """Begin supervising; returns at once. `ready` is set after the child's hello."""
        self._task = asyncio.create_task(self._supervise(), name="worker-supervisor")

    def run(self, about: str, prompt: str) -> None:
        """Start a job; `about` is the JSON text of `{id, targets, extra}`, `prompt` that of the document. Raises WorkerAway."""
        self._send(job_frame(about, prompt))
        self._used = True

    def cancel(self, id: str) -> None:
        """Ask the job to stop, and end the process if it is still running after the grace period."""
        if id in self._cancels or self.pid is None:
            return
        self._send(message_frame({"op": "cancel", "id": id}))
        loop = asyncio.get_running_loop()
        self._cancels[id] = loop.call_later(self._grace, self._kill, not_cancelled(self._grace))

    def ended(self, id: str) -> None:
        """The job is over: its cancel, if any, needs no kill."""
        if (timer := self._cancels.pop(id, None)) is not None:
            timer.cancel()

    def comes(self, files: Collection[str]) -> None:
        """Say which model files the job after the present one names. Raises WorkerAway."""
        self._send(message_frame({"op": "comes", "files": list(files)}))

    def free(self, unload_models: bool, free_memory: bool) -> None:
        """Let go of models and, with `free_memory`, cached results. Raises WorkerAway."""
        self._send(message_frame({"op": "free", "unload_models": unload_models, "free_memory": free_memory}))

    def renew(self) -> None:
        """End the child, which must have no job, and start a fresh one: what a process keeps as long as it lives goes back to the system.
        One that ran no job, or takes long to start, stays."""
        if self._used and self.ready.is_set() and self._start_took < _QUICK_START_S:
            with contextlib.suppress(WorkerAway):
                self._send(message_frame({"op": "stop"}))
                assert self._process is not None and self._process.stdin is not None
                self._process.stdin.close()
                self._renewing = True
                self.ready.clear()

    def watch(self, someone: bool) -> None:
        """Say whether anybody would see previews, so that none are encoded in vain."""
        with contextlib.suppress(WorkerAway):
            self._send(message_frame({"op": "watch", "someone": someone}))

    async def call(self, method: str, args: Any, timeout: float) -> Any:
        """Ask the worker something; it answers while a node computes. Raises WorkerAway, or Problem with the worker's reason."""
        self._next_call += 1
        rid = self._next_call
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._calls[rid] = future
        try:
            self._send(message_frame({"op": "call", "rid": rid, "method": method, "args": args}))
            return await asyncio.wait_for(future, timeout)
        except TimeoutError:
            raise WorkerAway(f"The worker did not answer {method!r} within {timeout:.1f} seconds.", hint="Try again.") from None
        finally:
            del self._calls[rid]

    async def stop(self, timeout: float = 5.0) -> None:
        """End the child: by request, then by closing its stdin, then by force."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            with contextlib.suppress(WorkerAway):
                self._send(message_frame({"op": "stop"}))
            assert process.stdin is not None
            process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), timeout)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._beacon.close()

    def _send(self, frame: bytes) -> None:
        process = self._process
        if process is None or process.returncode is not None or process.stdin is None or process.stdin.is_closing():
            raise WorkerAway("The worker is not running at the moment.", hint="It restarts by itself; try again in a few seconds.")
        process.stdin.write(frame)

    def _kill(self, reason: Death) -> None:
        if self._process is not None and self._process.returncode is None:
            self._killed_for = reason
            self._process.kill()

    async def _supervise(self) -> None:
        pause = 0.0
        while not self._stopping:
            started = time.monotonic()
            death = await self._live()
            self.ready.clear()
            for timer in self._cancels.values():
                timer.cancel()
            self._cancels.clear()
            for future in self._calls.values():
                if not future.done():
                    future.set_exception(WorkerAway("The worker ended before it answered.", hint="Try again."))
            if self._stopping:
                return
            if self._renewing:
                continue
            self._on_log(f"{death.cause} {death.hint}".strip())
            await self._on_death(death)
            self.restarts += 1
            pause = 0.0 if time.monotonic() - started > 30 else min(10.0, max(0.2, pause * 2))
            await asyncio.sleep(pause)

    async def _live(self) -> Death:
        """One life of the child, from spawn to its death."""
        self._killed_for = None
        self._renewing = self._used = False
        self._started = time.monotonic()
        self._beacon.clear()
        env = {**self.env, VARIABLE: str(self._beacon.path)}
        try:
            self._process = process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=env,
                limit=_PIPE_LIMIT,
                start_new_session=sys.platform != "win32",
            )
        except OSError as error:
            return Death("exit", f"The worker process could not be started: {error}.", "Check the Python installation.")
        self._heard = time.monotonic()
        assert process.stdout is not None and process.stderr is not None
        watchdog = asyncio.create_task(self._watch())
        log = asyncio.create_task(self._read_log(process.stderr))
        try:
            await self._read_frames(process.stdout)
            if process.returncode is None and not self._stopping:
                await self._await_exit(process)
            returncode = await process.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(log, 1.0)
            return replace(explain(returncode, self._killed_for), doing=self._beacon.get())
        finally:
            watchdog.cancel()
            log.cancel()
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def _await_exit(self, process: asyncio.subprocess.Process) -> None:
        """stdout has ended: the process follows, or is made to."""
        try:
            await asyncio.wait_for(process.wait(), 5.0)
        except TimeoutError:
            self._kill(Death("crash", "The worker process closed its pipe without ending, and was stopped."))

    async def _read_frames(self, stream: asyncio.StreamReader) -> None:
        try:
            while (frame := await read_frame(stream)) is not None:
                self._heard = time.monotonic()
                op = frame.message.get("op")
                if op == "reply":
                    self._answer(frame.message)
                    continue
                if op == "hello":
                    await self._on_frame(frame)
                    self._start_took = time.monotonic() - self._started
                    self.ready.set()
                    continue
                await self._on_frame(frame)
        except Problem as problem:
            self._kill(Death("crash", f"The worker process was stopped: {problem}"))

    def _answer(self, message: dict[str, Any]) -> None:
        future = self._calls.get(message["rid"])
        if future is None or future.done():
            return
        if message["ok"]:
            future.set_result(message["value"])
        else:
            future.set_exception(Problem(str(message["value"])))

    async def _read_log(self, stream: asyncio.StreamReader) -> None:
        """Lines of stderr; a line without an end is cut."""
        lines = Flood(self._on_log, _MOST_LINE)
        while chunk := await stream.read(1 << 16):
            lines.take(chunk)
        lines.end()

    async def _watch(self) -> None:
        """Kill a child that is silent for too long; starting (imports of packs) may take longer."""
        while True:
            limit = self._silence if self.ready.is_set() else self._start_limit
            silent = time.monotonic() - self._heard
            if silent > limit:
                self._kill(hang(silent))
                return
            before = time.monotonic()
            await asyncio.sleep(min(1.0, max(0.05, limit - silent)))
            if time.monotonic() - before > 5.0:  # this process itself was stopped or starved: no fault of the child
                self._heard = time.monotonic()

"""The front process: puts the rooms without torch together, serves, and starts the worker. Composition root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
import webbrowser
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from aiohttp import web

from backend.base.config import ROOT, Settings, without_secrets
from backend.base.errors import Refused
from backend.base.numbers import VARIABLE
from backend.base.paths import Folders
from backend.graph.choices import FolderChoices
from backend.server import tls, wire
from backend.server.access import SHORTEST_TOKEN, Accounts, new_token
from backend.server.app import build
from backend.server.catalogue import Catalogue
from backend.server.hub import Hub
from backend.server.jobs import Jobs
from backend.server.logs import LogRing
from backend.server.security import is_loopback
from backend.server.state import State
from backend.storage.audit import Audit
from backend.storage.db import Database
from backend.storage.events import EventLog
from backend.storage.history import History, Kept
from backend.storage.lock import DirectoryLock
from backend.storage.queue import Queue
from backend.storage.settings import SettingsStore, UserStore
from backend.workers.death import Death
from backend.workers.left_out import Suspects
from backend.workers.local import LocalWorker
from backend.workers.protocol import Frame

DRAIN_S = 3.0
TOKEN_VARIABLE = "EMULSION_TOKEN"
_BACKLOG = 1024
# How a worker's C library keeps memory: in large pages, in one heap for all threads, and none of it goes back to the system before the
# worker says so. What one net leaves is what the next is read into; memory that is new to the process costs more than reading.
_HEAP = {"hugetlb": 1, "arena_max": 1, "mmap_threshold": 32 << 20, "trim_threshold": 1 << 40}


def run(settings: Settings) -> int:
    """Serve until SIGTERM or Ctrl-C; the process's exit status. Raises Problem when it cannot start."""
    return asyncio.run(_serve(guarded(settings, os.environ)))


def guarded(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """The settings with their token filled in. Raises Refused when everybody on the network could use the server unasked."""
    token = settings.token if settings.token is not None else environ.get(TOKEN_VARIABLE) or None
    if token == "":
        token = new_token()
        print(f"Token of this start (shown once): {token}", file=sys.stderr, flush=True)
    if token is not None and len(token) < SHORTEST_TOKEN:
        raise Refused(f"A token of {len(token)} characters can be guessed.", hint="Use --token without a value to have a good one made.")
    beyond = [address for address in settings.listen if not is_loopback(address)]
    if beyond and token is None and settings.users_file is None:
        raise Refused(
            f"The server does not start: everybody who reaches {' or '.join(beyond)} could run graphs and read pictures.",
            hint="Add --token (one is made and printed), --token WORD, or --users-file FILE; or listen on 127.0.0.1 only.",
        )
    if beyond and settings.tls_certfile is None:
        print(
            "Note: without --tls-certfile, or a proxy that does TLS, tokens and pictures can be read on their way.",
            file=sys.stderr,
            flush=True,
        )
    if beyond and len(token or "x" * 16) < 16:
        print("Warning: the token is short. Others can reach this server; use 16 characters or more.", file=sys.stderr, flush=True)
    return replace(settings, token=token)


def worker_command(settings: Settings) -> list[str]:
    """How the worker process is started: the same flags, read again there."""
    return [sys.executable, "-P", "-m", "backend.worker", *without_secrets(settings.argv)]


def worker_environment(settings: Settings, environ: Mapping[str, str], device: str | None = None) -> dict[str, str]:
    """A worker's environment: what its libraries read before any code of ours runs there. `device` is the GPU it may see."""
    inherited = {name: value for name, value in environ.items() if name != TOKEN_VARIABLE}
    paths = [path for path in environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(ROOT))]
    env = {**inherited, "PYTHONPATH": os.pathsep.join([str(ROOT), *paths])}
    if device is not None:
        env |= dict.fromkeys(("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES"), device)
    elif settings.workers > 1:  # they share the processor's cores
        env.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // settings.workers)))
    env.setdefault("GLIBC_TUNABLES", ":".join(f"glibc.malloc.{name}={value}" for name, value in _HEAP.items()))
    if settings.deterministic:
        env.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if settings.cuda_malloc:
        env.setdefault("PYTORCH_CUDA_ALLOC_CONF", "backend:cudaMallocAsync")
    return env


@dataclass(eq=False)
class Lane:
    """One worker, and what it last said about itself."""

    number: int
    worker: LocalWorker
    suspects: Suspects
    hello: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, number: int, device: str | None, front: Front) -> Lane:
        """The worker for a device, not started yet. The first keeps the names that a server with one worker has."""
        settings, mark = front.settings, f"[worker {number}] " if number else ""
        shared = {VARIABLE: str(front.state.folders.temp / ".numbers")} if len(settings.devices()) > 1 else {}
        worker = LocalWorker(
            worker_command(settings),
            on_frame=lambda frame: front.on_frame(lane, frame),
            on_death=lambda death: front.on_death(lane, death),
            on_log=lambda line: front.logs.write(mark + line),
            beacon=front.state.folders.user / (f".worker{number}.beacon" if number else ".worker.beacon"),
            env=worker_environment(settings, os.environ, device) | shared,
            silence_s=settings.hang_timeout,
            grace_s=settings.cancel_grace,
        )
        lane = cls(number, worker, Suspects(worker.env))
        return lane


class Front:
    """The rooms of one front, wired together."""

    def __init__(self, settings: Settings, folders: Folders, database: Database, logs: LogRing, stop: Callable[[int], None]) -> None:
        self.settings, self.logs, self._stop = settings, logs, stop
        queue = Queue(database)
        hub = Hub(lambda: len(queue))
        history = History(database, Kept(settings.history_entries, settings.history_days, settings.history_bytes))
        jobs = Jobs(queue, history, EventLog(database), hub, logs.write)
        catalogue = Catalogue(FolderChoices(folders), logs.write)
        root = settings.front_end_root or ROOT / "web"
        self.state = State(
            settings,
            folders,
            queue,
            history,
            jobs,
            hub,
            catalogue,
            SettingsStore(database),
            UserStore(database),
            logs,
            root,
            Accounts.of(settings, folders),
            Audit(folders.user / "audit.jsonl"),
        )
        self.lanes = [Lane.of(number, device, self) for number, device in enumerate(settings.devices())]
        jobs.workers = [lane.worker for lane in self.lanes]
        catalogue.worker = self.lanes[0].worker
        logs.tell = self._tell_logs
        hub.on_audience = self._watch

    async def recover(self) -> None:
        """Take up what a former process left: waiting jobs wait, interrupted ones run again or end with their error."""
        state = self.state
        for job, again in state.queue.recover():
            if again:
                self.logs.write(f"Job {job.id} was running when the server ended; it is queued again (attempt {job.attempts + 1}).")
            else:
                await state.jobs.give_up(job, "The server ended while this job ran.", "It may have exhausted the machine; see the log.")
        state.jobs.held = bool(state.preferences.get("", "queue.paused"))
        if state.jobs.held:
            self.logs.write("The queue is paused, as it was when the server ended; POST /queue/resume lets it go on.")
        await asyncio.wrap_future(state.history.prune(time.time()))
        numbers = [job.number for job in state.queue.pending.values()]
        state.counter = max([int(n) + 1 for n in numbers] + [0])

    def _watch(self, someone: bool) -> None:
        for lane in self.lanes:
            lane.worker.watch(someone)

    async def on_frame(self, lane: Lane, frame: Frame) -> None:
        """A worker says something."""
        message, state = frame.message, self.state
        op = message.get("op")
        if op == "events":
            state.jobs.on_events(message["id"], message["batch"])
        elif op == "preview":
            state.jobs.on_picture(message, frame.payload)
        elif op == "beat":
            state.beats[lane.number] = message
        elif op == "leaving":
            lane.worker.ready.clear()  # it takes no further job
        elif op == "done":
            await state.jobs.on_done(message["id"])
        elif op == "types" and not lane.number:  # the others have the same nodes and packs as the first
            await state.catalogue.hear(message["nodes"])
        elif op == "hello":
            self._on_hello(lane, message)

    def _on_hello(self, lane: Lane, message: dict[str, Any]) -> None:
        state = self.state
        self.forget_routes(lane)  # of the process that was there before
        lane.hello = message
        if lane.number:
            state.devices[lane.number] = message.get("device", {})
        else:
            self._learn(message)
        asyncio.get_running_loop().call_soon(self._ready, lane)

    def _learn(self, message: dict[str, Any]) -> None:
        state, kinds = self.state, message.get("kinds")
        for kind, (paths, extensions) in kinds.items() if isinstance(kinds, dict) else ():
            for path in paths:
                state.folders.add(kind, path, extensions=extensions)
        state.catalogue.learn()
        state.hello = message

    def _ready(self, lane: Lane) -> None:
        state = self.state
        who = f"Worker {lane.number} is ready:" if lane.number else f"The worker is ready: {len(state.catalogue.registry)} node types,"
        self.logs.write(f"{who} {lane.hello.get('sentence', '')}")
        lane.worker.watch(len(state.hub) > 0)
        state.jobs.kick()
        if self.settings.quick_test:
            self._stop(0)

    def forget_routes(self, lane: Lane) -> None:
        """The socket of a worker that is gone goes too: a killed process cannot tidy up."""
        told = lane.hello.get("pack_routes")
        place = Path(told["address"]).parent if told else None
        if place is not None and place.name.startswith("emulsion-"):
            shutil.rmtree(place, ignore_errors=True)

    async def on_death(self, lane: Lane, death: Death) -> None:
        """A worker has ended unasked."""
        self.forget_routes(lane)
        if not lane.number:
            self.state.catalogue.forget()
        if death.doing is not None and not death.doing[0]:
            why = lane.suspects.blame(death.doing[1], death)
            if why is not None:
                self.logs.write(f"Cannot import {death.doing[1]} module for custom nodes: {why}")
            death = replace(death, doing=None)
        await self.state.jobs.on_death(lane.worker, death.cause, death.hint, death.kind == "cancel", death.doing, death.starved)
        if self.settings.quick_test:
            self._stop(1)

    def _tell_logs(self, sid: str, entries: list[dict[str, str]]) -> None:
        client = self.state.hub.find(sid)
        if client is not None:
            client.put(wire.logs(entries).frame())


async def _serve(settings: Settings) -> int:
    started = time.monotonic()
    folders = settings.folders()
    folders.create()
    logs = LogRing(settings.log_stdout, settings.log_format == "json")
    lock = DirectoryLock(folders.user)
    stopped = asyncio.get_running_loop().create_future()

    def stop(status: int) -> None:
        if not stopped.done():
            stopped.set_result(status)

    database = Database(_database_path(settings, folders), logs.write)
    runner: web.AppRunner | None = None
    front: Front | None = None
    try:
        _wipe(folders.temp)
        front = Front(settings, folders, database, logs, stop)
        await front.recover()
        runner = web.AppRunner(build(front.state), access_log=None, handle_signals=False, keepalive_timeout=settings.request_timeout)
        await runner.setup()
        url = await _listen(runner, settings)
        for lane in front.lanes:
            lane.worker.start()
        _on_signals(stop)
        logs.write(f"Front ready after {time.monotonic() - started:.2f} s.")
        if not settings.dont_print_server:
            logs.write(f"To see the GUI go to: {url}")
        if settings.auto_launch:
            webbrowser.open(url)
        status: int = await stopped
        return status
    finally:
        await _shut_down(front, runner, settings)
        await asyncio.to_thread(database.close)
        _wipe(folders.temp)
        lock.release()
        logs.close()


async def _shut_down(front: Front | None, runner: web.AppRunner | None, settings: Settings) -> None:
    if front is not None:
        front.state.stopping = True
        await front.state.jobs.stop(0.0 if settings.quick_test else DRAIN_S)
        await front.state.downloads.close()
        await asyncio.gather(*(lane.worker.stop() for lane in front.lanes))
        for lane in front.lanes:
            front.forget_routes(lane)
        await front.state.hub.close()
    if runner is not None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(runner.cleanup(), 5.0)


def _database_path(settings: Settings, folders: Folders) -> Path:
    text = settings.database_url or ""
    return Path(text.removeprefix("sqlite:///")) if text.startswith("sqlite:///") else folders.user / "emulsion.db"


def _wipe(directory: Path) -> None:
    """The temp directory is emptied at start and exit; what cannot be removed is left."""
    if directory.is_dir():
        for entry in directory.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                with contextlib.suppress(OSError):
                    entry.unlink()


async def _listen(runner: web.AppRunner, settings: Settings) -> str:
    """Bind every address; the URL of the first. Port 0 lets the system choose one port for all. Raises Refused when a port is taken."""
    secure = tls.context(settings.tls_certfile, settings.tls_keyfile)
    port, url = settings.port, ""
    for address in settings.listen:
        try:
            site = web.TCPSite(runner, address, port, ssl_context=secure, backlog=_BACKLOG)
            await site.start()
        except OSError as error:
            if url:  # a second address family this machine lacks
                continue
            raise Refused(
                f"The server cannot listen on {address}:{port}: {error.strerror}.", hint="Choose another --port or --listen."
            ) from error
        if not url:
            port = runner.addresses[0][1]
            shown = "127.0.0.1" if address == "0.0.0.0" else f"[{address}]" if ":" in address else address
            url = f"http{'s' if secure else ''}://{shown}:{port}"
    return url


def _on_signals(stop: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(name, stop, 0)
        except NotImplementedError:  # Windows: Ctrl-C raises KeyboardInterrupt in the loop instead
            return

"""The worker process: owns the device, the node code, the models and the result cache. Composition root.

The main thread runs jobs. The control thread reads the pipe, so cancels and questions are answered while a node computes; when the pipe
ends the front is gone and so is this process.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import queue
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from backend.base.config import VERSION, Settings, parse
from backend.base.errors import Interrupted, NotInstalled, Problem
from backend.base.events import Event, NodeFinished, NodeLog, NodePart, NodeStarted, NodeText, Progress, to_json
from backend.base.numbers import NUMBERS, VARIABLE
from backend.workers import left_out
from backend.workers.beacon import Beacon
from backend.workers.death import DEVICE_LOST
from backend.workers.protocol import Outbox, binary_frame, read_frame_blocking, take_stdio

if TYPE_CHECKING:
    from backend.engine.executor import Executor
    from backend.engine.persist import Persistent
    from backend.graph.reader import Reader
    from backend.graph.registry import Registry
    from backend.graph.schema import NodeType
    from backend.memory.device import DeviceFacts, PartOfModel
    from backend.memory.kernels import Kernels
    from backend.memory.pool import Loadable, Move, Pool

_PR_SET_PDEATHSIG = 1
_QUESTIONERS = 8
"""Questions answered at a time. The code of a node pack may never come back from one; others are then answered still."""
JOB_WORD = b"%job%"
"""In a text of a graph, such as the prefix of a file name, it stands for the id of the job."""
_WORTH_TELLING = 32 << 20  # bytes
_PAUSE_S = 5.0


class Pipe:
    """The process's side of the pipe: the control thread, and the outbox for everything that is said."""

    def __init__(self, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        self.tasks: queue.SimpleQueue[tuple[Mapping[str, Any], bytes]] = queue.SimpleQueue()
        self.answers: dict[str, Callable[[Any], Any]] = {}
        self.figures: Callable[[], dict[str, Any]] = dict
        self.comes: tuple[str, ...] = ()
        """The model files that the job after the present one names."""
        self._watched = False
        self._cancelled: set[str] = set()
        self._incoming = incoming
        self._questions = ThreadPoolExecutor(_QUESTIONERS, thread_name_prefix="question")
        self.outbox = Outbox(outgoing, self._encode, lambda: {"device": self.figures()})
        threading.Thread(target=self._control, name="control", daemon=True).start()

    def is_cancelled(self, job: str) -> bool:
        """Whether the front has cancelled this job."""
        return job in self._cancelled

    def forget(self, job: str) -> None:
        """The job is over."""
        self._cancelled.discard(job)

    def _control(self) -> None:
        while (frame := read_frame_blocking(self._incoming)) is not None:
            message = frame.message
            op = message["op"]
            if op == "cancel":
                self._cancelled.add(message["id"])
            elif op == "call":
                self._questions.submit(self._answer, message)
            elif op == "watch":
                self._watched = message["someone"]
            elif op == "comes":
                self.comes = tuple(message["files"])
            elif op == "stop":
                break
            else:
                self.tasks.put((message, frame.payload))
        os._exit(0)  # the front is gone or wants this process gone; results on disk are complete files

    def _answer(self, message: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"op": "reply", "rid": message["rid"], "ok": True, "value": None}
        method = self.answers.get(message["method"])
        try:
            if method is None:
                raise NotInstalled(f"The worker is still starting, or knows no method {message['method']!r}.")
            answer["value"] = method(message["args"])
        except Problem as problem:
            answer |= {"ok": False, "value": str(problem)}
        except BaseException as error:  # noqa: BLE001  foreign code may raise anything; the front gets the sentence, the log the rest
            traceback.print_exc()
            answer |= {"ok": False, "value": f"{type(error).__name__}: {error}"}
        self.outbox.message(answer)

    def _encode(self, job: str, event: Event) -> list[Any] | bytes:
        """An event for the pipe. A picture is encoded here, off the computing thread, and only if someone would see it."""
        if isinstance(event, Progress) and event.preview is not None and self._watched:
            try:
                format, data = event.preview.encode()
            except Exception:  # noqa: BLE001  a picture that fails must not end the run it shows
                traceback.print_exc()
            else:
                header = {"op": "preview", "id": job, "node": event.node, "value": event.value, "total": event.total, "format": format}
                return binary_frame(header, data)
        return to_json(event)


class Worker:
    """Loads everything, says hello, runs jobs."""

    def __init__(self, settings: Settings, pipe: Pipe) -> None:
        self.settings, self.pipe = settings, pipe
        self.began = time.monotonic()
        self.folders = settings.folders()
        self.registry: Registry
        self.executor: Executor
        self.device: DeviceFacts
        self.kernels: Kernels
        self.pool: Pool
        self._reader: Reader
        self._told: dict[str, NodeType] = {}
        self._described: dict[str, Any] = {}
        self._describing = ""
        self._job = ""
        self._owner: str | None = None
        self._node = ""
        self._lost = False
        self._later: tuple[tuple[str, ...], list[Path]] = ((), [])
        self._beacon = Beacon.inherited()

    def start(self) -> None:
        """Import packs and nodes, look at the device, say hello."""
        from backend.engine.context import Services
        from backend.packs import importer
        from backend.packs.host import HOST
        from backend.packs.loader import entries, hold_pins, load_packs, run_prestartup

        services = HOST.services = Services(folders=self.folders, settings=self.settings)
        HOST.emit = self.pipe.outbox.event
        if any(entries(self.folders, self.settings)):
            importer.install()
            hold_pins()
        without = left_out.read(os.environ)
        too_early = run_prestartup(self.folders, self.settings, without, self._loading)
        import torch

        from backend.engine import cache
        from backend.engine.executor import Executor
        from backend.engine.manifest import Manifest
        from backend.graph.reader import Reader
        from backend.memory.device import memory_available, memory_spare, probe
        from backend.memory.finite import Finite
        from backend.memory.kernels import Kernels
        from backend.memory.later import Later
        from backend.memory.measured import Measured
        from backend.memory.pool import Pool
        from backend.memory.tune import tune
        from backend.memory.ways import Ways
        from backend.packs.complete import complete, note_clashes, note_prestartup
        from backend.packs.core_nodes import builtin_types
        from backend.weights.mapped import READING

        for sentence in tune(self.settings):
            logging.warning(sentence)
        ways = Ways(self.folders.user / ".reading.json")
        READING.maps, READING.around = ways.maps, ways.around
        self.device = probe(self.settings)
        self.kernels = Kernels(self.settings, self.device.device, self.folders.user / ".kernels.json")
        self.kernels.start()
        self.pool = Pool(self.device.device, self.device.budget(self.settings), self.device.spare, self.settings.smart_memory)
        self.pool.measured, self.pool.measures = Measured(self.folders.user / ".activations.json"), True
        if self.settings.vae_on_cpu and self.device.device.type != "cpu":
            self.pool.others["vae"] = Pool("cpu", self.settings.ram_budget, memory_spare, self.settings.smart_memory)
        services.pool, services.device, services.manifest = self.pool, self.device, Manifest(self._facts())
        self._describe(builtin_types().values())
        began = time.monotonic()
        packs = load_packs(self.folders, self.settings, without, self._loading, lambda pack: self._describe(pack.types))
        note_clashes(packs.packs)
        note_prestartup(packs.packs, too_early)
        if self._beacon is not None:
            self._beacon.clear()
        self.registry = complete(packs.types)
        self.executor = Executor(
            self.registry,
            self._emit,
            cache=cache.of(self.settings),
            services=services,
            around=torch.inference_mode,
            on_out_of_memory=self._unload,
            on_device_lost=self._leave_after_this,
            tighten=self._tighten,
            checker=Finite(self.pool),
            persistent=self._persistent() if self.settings.persist else None,
        )
        self._reader = Reader()
        for pool in (self.pool, *self.pool.others.values()):
            pool.upcoming, pool.on_move, pool.on_reading, pool.check = self._upcoming, self._moved, self._reading, self._check
            pool.later = Later(self._files_to_come, memory_available)
        self._describe(self.registry.values())  # what has become of them since: choices that packs have added, names taken twice
        self.pipe.answers.update(validate=self._validate, refresh=self._refresh, memory=self._memory, on_prompt=HOST.on_prompt)
        self.pipe.answers["forward"] = self._forward
        self.pipe.figures = self._figures
        self.pipe.outbox.message(
            {
                "op": "hello",
                "packs": [p.to_json() for p in packs.packs],
                "pack_routes": self._serve_routes(),
                "on_prompt": bool(HOST.prompt_handlers),
                "kinds": {name: [[str(p) for p in kind.paths], sorted(kind.extensions)] for name, kind in self.folders.kinds.items()},
                "device": self._device(),
                "seconds": {"all": time.monotonic() - self.began, "packs": time.monotonic() - began},
                "sentence": self.device.sentence(self.settings),
                "versions": {"python": sys.version, "torch": torch.__version__},
            }
        )

    def _describe(self, types: Iterable[NodeType]) -> None:
        """Tell the front of node types, which reads some while others are still imported; not again of those that it was told of."""
        from backend.graph.describe import to_wire

        fresh = [t for t in types if self._told.get(t.id) is not t]
        if fresh:
            self._told.update((t.id, t) for t in fresh)
            described = {t.id: to_wire(t) for t in fresh}
            self._described.update(described)
            self.pipe.outbox.message({"op": "types", "nodes": list(described.values())})

    def _serve_routes(self) -> dict[str, Any] | None:
        """Serve the routes of packs. A web server is imported only if a pack has asked for the module on which it declares them."""
        if "server" not in sys.modules:
            return None
        from backend.packs import routes

        return routes.serve()

    def _persistent(self) -> Persistent:
        """What keeps results on disk. Users share it: a result's name holds the content of the files it was made of."""
        from backend.engine.persist import Persistent
        from backend.weights.values import load_value, save_value

        def describe(prompt: Mapping[str, Any]) -> Any:
            services = self.executor.services
            return {**services.manifest.of(prompt, services.folders), "seeds": None}  # where a seed stands does not matter

        folder, settings = self.folders.user / ".results", self.settings
        return Persistent(folder, settings.persist_bytes, settings.persist, describe=describe, save=save_value, load=load_value)

    def _loading(self, pack: str) -> None:
        """The code of a pack runs now: should this process end, the front knows whose fault it was."""
        if self._beacon is not None:
            self._beacon.set("", pack)

    def _emit(self, event: Event) -> None:
        if event.__class__ is NodeStarted:
            assert isinstance(event, NodeStarted)
            self._node = event.display or event.node
            if self._beacon is not None:
                self._beacon.set(self._job, self._node)
        elif event.__class__ is NodeFinished:
            for what, intake in [row for pool in (self.pool, *self.pool.others.values()) for row in pool.brought()]:
                self.pipe.outbox.event(self._job, NodePart(self._node, "load", what, int(intake.first * 1000), intake.busy))
        self.pipe.outbox.event(self._job, event)

    def work(self) -> None:
        """Run jobs as they come. When none come for a moment freed memory goes back to the system, when none come for a while the device
        does. Never returns (the pipe's end ends the process)."""
        chores: list[tuple[float, Callable[[], None]]] = []
        self.kernels.ask()  # before the first job, so that it is computed as all later ones
        while True:
            try:
                message, payload = self.pipe.tasks.get(timeout=chores[0][0] if chores else None)
            except queue.Empty:
                chores.pop(0)[1]()
                continue
            chores = [(_PAUSE_S, self._tidy)]
            if self.settings.idle_unload:
                chores.append((self.settings.idle_unload * 60, self._give_back))
            if message["op"] == "run":
                self._run(message["job"], payload)
            elif message["op"] == "free":
                self._free(message["unload_models"], message["free_memory"])

    def _run(self, job: Mapping[str, Any], document: bytes) -> None:
        from backend.engine.executor import Job

        id = self._job = job["id"]
        self._serve_user(job["extra"].get("owner"))
        if JOB_WORD in document:  # also makes the run one of its own: its files are to bear its name
            document = document.replace(JOB_WORD, re.sub(rb"[^A-Za-z0-9_-]", b"_", id.encode()))
        if job.get("lean"):
            self.pipe.outbox.event(id, NodeLog("", f"This job was ended before, most likely for want of memory. {self._lower()}"))
        prompt = self._reader.read(document)
        outcome = self.executor.run(Job(id, prompt, tuple(job["targets"]), job["extra"]), lambda: self.pipe.is_cancelled(id))
        self.pool.relax()
        self.pipe.forget(id)
        if self._lost:
            self.pipe.outbox.message({"op": "leaving"})
        self.pipe.outbox.message({"op": "done", "id": id, "outcome": outcome.to_json()})
        if self._lost:
            self.pipe.outbox.close()
            os._exit(DEVICE_LOST)

    def _leave_after_this(self) -> None:
        self._lost = True

    def _serve_user(self, owner: str | None) -> None:
        """Nodes read and write in the directories of the job's user; results of another user are forgotten, for they name other files."""
        if owner == self._owner:
            return
        self._owner = owner
        self.executor.forget()
        services = self.executor.services
        services.folders = self.folders if owner is None else self.folders.of_user(owner)
        services.folders.create()

    def _upcoming(self) -> Iterator[Loadable]:
        """The nets behind the values that the rest of the graph will read."""
        for value in self.executor.ahead():
            yield from nets_of(value)

    def _files_to_come(self) -> list[Path]:
        """Where the model files are that the next job names."""
        names = self.pipe.comes
        if names != self._later[0]:
            folders = self.folders
            found = (folders.find(kind, name) for name in names for kind in folders.kinds)
            self._later = (names, list(dict.fromkeys(path for path in found if path is not None)))
        return self._later[1]

    def _check(self) -> None:
        """Raises Interrupted when the job that runs was cancelled."""
        if self.pipe.is_cancelled(self._job):
            raise Interrupted

    def _moved(self, move: Move) -> None:
        if not 0 < move.nbytes < _WORTH_TELLING:
            self.pipe.outbox.event(self._job, NodeLog(self._node, move.sentence()))
        if move.seconds:
            began = int((move.at - move.seconds) * 1000)
            self.pipe.outbox.event(self._job, NodePart(self._node, "transfer", move.key, began, move.seconds))

    def _reading(self, sentence: str) -> None:
        self.pipe.outbox.event(self._job, NodeText(self._node, sentence))

    def _tighten(self) -> str:
        return f"Memory ran out. {self._lower()} The node is run once more."

    def _lower(self) -> str:
        return f"Until it is done models may fill {self.pool.tighten() / 1e6:,.0f} MB; the rest is read at each use."

    def _free(self, unload_models: bool, free_memory: bool) -> None:
        if free_memory:
            self.executor.forget()
        if unload_models:
            self._unload()

    def _tidy(self) -> None:
        from backend.memory.heap import trim

        trim()

    def _give_back(self) -> None:
        self._unload(f"there was no job for {self.settings.idle_unload:g} minutes")

    def _unload(self, why: str = "memory was to be freed") -> None:
        import gc

        import torch

        self.pool.free(why)
        gc.collect()
        if self.device.device.type == "cuda":
            torch.cuda.empty_cache()

    def _validate(self, rows: list[Any]) -> list[Any]:
        """The checks that node types do themselves."""
        from backend.graph.custom import Question, answer

        return answer(self.registry, [Question.from_json(row) for row in rows])

    def _refresh(self, _: Any) -> list[Any]:
        """Descriptions that have changed since they were last told: inputs of class-form types are asked for each time.
        Raises Problem while one of them has still not come back to the question before."""
        from backend.graph.describe import to_wire

        if self._describing:
            raise Problem(
                f"The node type {self._describing} has not yet said what its inputs are.", hint="This is a fault of its node pack."
            )
        changed = []
        for id, t in self.registry.items():
            if t.refresh is None:
                continue
            self._describing = id
            try:
                now = to_wire(t.refresh())
            except BaseException:  # noqa: BLE001  foreign code; the last description stands
                traceback.print_exc()
                continue
            if now != self._described[id]:
                self._described[id] = now
                changed.append(now)
        self._describing = ""
        return changed

    def _forward(self, _: Any) -> float:
        """A real, tiny forward pass, waited for: its seconds. Raises Problem when the device computes nonsense, or whatever it raises."""
        import torch
        from torch.nn.functional import conv2d, softmax

        began = time.perf_counter()
        with torch.inference_mode():
            x = torch.ones(1, 4, 8, 8, device=self.device.device, dtype=self.device.compute_dtype("unet"))
            y = softmax(conv2d(x, x.new_full((4, 4, 3, 3), 0.01)).flatten(1).float(), dim=-1)
            total = float(y.sum())  # the answer comes from the device
        if abs(total - 1.0) > 1e-3:
            raise Problem(f"The device computes nonsense: weights that must sum to 1 sum to {total}.", hint="Restart, or replace it.")
        return time.perf_counter() - began

    def _memory(self, _: Any) -> Any:
        from backend.memory import table

        rows, moves, limit = self.pool.table(), list(self.pool.moves), self.pool.limit()
        told = [{"at": m.at, "what": m.sentence(), "seconds": m.seconds} for m in moves]
        text = table.text(rows, [(m.at, m.sentence()) for m in moves], limit, len(self.executor.cache))
        return {
            "models": rows,
            "moves": told,
            "budget": self.pool.budget,
            "limit": limit,
            "device": self._figures(),
            "kernels": self.kernels.told(),
            "text": text,
        }

    def _facts(self) -> dict[str, Any]:
        """What results depend on beside their graph: versions, the kind of device, the dtypes of computing."""
        import platform

        import torch

        device, settings = self.device, self.settings
        kind = device.name
        if device.device.type == "cpu":
            kind = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
        parts: tuple[PartOfModel, ...] = ("unet", "vae", "text_encoder")
        dtypes = {part: str(device.compute_dtype(part, settings)).removeprefix("torch.") for part in parts}
        versions = {"emulsion": VERSION, "python": platform.python_version(), "torch": torch.__version__}
        return {**versions, "device": f"{device.device.type}: {kind}", "dtypes": dtypes, "deterministic": settings.deterministic}

    def _device(self) -> dict[str, Any]:
        """The device in the published form; clients split the name at its colons."""
        device = self.device.device
        if device.type == "cpu":
            return {"name": "cpu", "type": "cpu", "index": None}
        name = f"{device} {self.device.name} : native"
        return {"name": name, "type": device.type, "index": device.index, **self._figures()}

    def _figures(self) -> dict[str, Any]:
        """Memory of the device in bytes; nothing for the CPU, whose memory the front reads itself."""
        if self.device.device.type != "cuda":
            return {}
        import torch

        free, total = torch.cuda.mem_get_info(self.device.device)
        reserved = torch.cuda.memory_reserved(self.device.device)
        idle = reserved - torch.cuda.memory_allocated(self.device.device)
        return {"vram_total": total, "vram_free": free + idle, "torch_vram_total": reserved, "torch_vram_free": idle}


def nets_of(value: Any) -> Iterator[Loadable]:
    """The nets behind a value on a wire: its own, or those of its parts."""
    for part in getattr(value, "parts", None) or (value,):
        found: Any = getattr(part, "loadable", None)
        if hasattr(found, "key"):
            yield found


def end_with_parent() -> None:
    """On Linux, have the kernel end this process when the front is killed, even while native code holds the interpreter."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(0)


def main(argv: list[str]) -> None:
    """The worker's life. The flags are those of the front."""
    pipe = Pipe(*take_stdio())
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the front, which stops this process in order
    settings = parse(argv)
    logging.basicConfig(level=settings.verbose, stream=sys.stderr, format="%(message)s")
    if VARIABLE in os.environ:
        NUMBERS.share(Path(os.environ[VARIABLE]))
    worker = Worker(settings, pipe)
    gc.disable()  # modules, classes and node types stay: looking through them for garbage again and again takes a fifth of the start
    try:
        worker.start()
    except Exception as error:
        hint = error.hint if isinstance(error, Problem) else ""
        print(f"The worker could not start after {time.monotonic() - worker.began:.1f} s: {error} {hint}", file=sys.stderr, flush=True)
        raise
    gc.freeze()
    gc.enable()
    worker.work()


if __name__ == "__main__":
    main(sys.argv[1:])

"""Let memory run out at one operation of a run, for many operations. `python -m tests.faults.soak.oom_points --points 50` for the long run.

The model that ships makes a small picture. At the k-th tensor operation memory runs out: once, and the node must go on with less and give
the very picture; or several times in a row, and the job must end with a sentence where going on is impossible. Either way the next run
must give the picture again, and what is held afterwards must be what was held before.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from backend.base import events as ev
from backend.engine.executor import Executor, Outcome
from backend.engine.job import Job
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.memory.heap import trim
from backend.memory.pool import Pool
from nodes import builtin
from tests.e2e.wiretap import node
from tests.faults.soak.soak import resident
from tests.nodes.bench import Bench

MODEL = Path(__file__).resolve().parents[3] / "models" / "checkpoints" / "emulsion-tiny.safetensors"

TRIES = 6  # whole and halved batches, each before and after models went, and what lies between


class Fault(TorchDispatchMode):
    """Counts operations, and raises at those in `at`."""

    def __init__(self, at: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.at, self.count, self.raised = at, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        if self.raised < len(self.at) and self.count >= self.at[self.raised]:
            self.raised += 1
            raise torch.OutOfMemoryError("Tried to allocate 4294967296 bytes (injected)")
        return func(*args, **(kwargs or {}))


class Machine:
    """A worker's rooms without its process: what the composition root does about memory is done here too."""

    def __init__(self, home: Path) -> None:
        self.bench = Bench(home)
        (home / "models" / "checkpoints").mkdir(parents=True)
        shutil.copy(MODEL, home / "models" / "checkpoints" / MODEL.name)
        self.pool: Pool = self.bench.services.pool
        self.pool.on_move = lambda move: self.bench.events.append(ev.NodeLog("", f"{'' if move.nbytes else 'lowered '}{move.sentence()}"))
        self.fault = Fault()
        self.executor = Executor(
            Registry(builtin()),
            self.bench.events.append,
            services=self.bench.services,
            around=self._around,
            on_out_of_memory=self.pool.free,
            tighten=lambda: f"tightened to {self.pool.tighten()}",
        )

    @contextmanager
    def _around(self) -> Iterator[None]:
        with torch.inference_mode(), self.fault:
            yield

    def run(self, at: tuple[int, ...] = ()) -> tuple[Outcome, bytes | None]:
        """A fresh run: the outcome, and the file it saved."""
        self.executor.forget()
        self.bench.events.clear()
        self.fault = Fault(at)
        outcome = self.executor.run(Job("job", Prompt.parse(graph()), ("7",), {}))
        self.pool.relax()
        shown = [e.output for e in self.bench.events if isinstance(e, ev.NodeShown)]
        if not shown:
            return outcome, None
        path = self.bench.folders.output / shown[0]["images"][0]["filename"]
        data = path.read_bytes()
        path.unlink()
        return outcome, data

    def held(self) -> int:
        """Bytes of every tensor that is alive."""
        gc.collect()
        return sum(t.numel() * t.itemsize for t in gc.get_objects() if type(t) is torch.Tensor and t.device.type == "cpu")


def graph() -> dict[str, Any]:
    settings = {"seed": 1, "steps": 2, "cfg": 2.0, "sampler_name": "euler", "scheduler": "karras", "denoise": 1.0}
    return {
        "1": node("CheckpointLoaderSimple", ckpt_name=MODEL.name),
        "2": node("CLIPTextEncode", text="a star", clip=["1", 1]),
        "3": node("CLIPTextEncode", text="", clip=["1", 1]),
        "4": node("EmptyLatentImage", width=32, height=32, batch_size=1),
        "5": node("KSampler", model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["4", 0], **settings),
        "6": node("VAEDecode", samples=["5", 0], vae=["1", 2]),
        "7": node("SaveImage", images=["6", 0], filename_prefix="out"),
    }


def run(home: Path, points: int) -> dict[str, Any]:
    """The figures; raises AssertionError naming the operation at which something was amiss."""
    machine = Machine(home)
    machine.run()
    outcome, wanted = machine.run()
    assert outcome.status == "success" and wanted is not None
    operations, held, memory = machine.fault.count, machine.held(), resident_mib()
    recovered = failed = 0
    most = held
    for i in range(points):
        k = 1 + i * (operations - 1) // max(points - 1, 1)
        outcome, made = machine.run((k,))
        assert outcome.status == "success" and made == wanted, f"operation {k}: {outcome.error}"
        assert any(isinstance(e, ev.NodeLog) and e.text.startswith(("tightened", "lowered")) for e in machine.bench.events), (
            f"operation {k}: nothing was said"
        )
        recovered += 1
        outcome, made = machine.run(tuple(range(k, k + TRIES)))
        if outcome.error is not None:
            assert made is None and "memory" in outcome.error.message, f"operation {k}: {outcome}"
            failed += 1
        else:
            assert made == wanted, f"operation {k}: another picture"
        outcome, made = machine.run()
        assert outcome.status == "success" and made == wanted, f"the run after operation {k}: {outcome.error}"
        most = max(most, machine.held())
    trim()
    return {
        "points": points,
        "operations": operations,
        "recovered": recovered,
        "ended_with_a_sentence": failed,
        "held_bytes": [held, most],
        "resident_mib": [memory, resident_mib()],
    }


def resident_mib() -> float:
    trim()
    return round(resident("self") / 2**20, 1) if sys.platform == "linux" else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=50)
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        print(json.dumps({**run(Path(home), options.points), "seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main()

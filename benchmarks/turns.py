"""Two nets in turns, each in a process of its own: ours in the environment of a worker, and the reference's as it is.

A benchmark says what runs there by a `Step`. CPU seconds, the best of the repeats. The machine's peak is its best rate in a plain product
of two matrices of the type we compute in, measured in between.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from backend.base.config import Settings
from backend.front import worker_environment
from backend.memory.device import cpu_computes_bf16
from backend.memory.pool import Loadable, Pool
from benchmarks.table import Row, report

PEAK_SIZE = 1024
Run = Callable[[int], Tensor]


@dataclass(frozen=True)
class Step:
    """`ours` and `theirs` make what runs, for a side in pixels, by name: theirs "float32" and "bfloat16". `work`: operations of one run."""

    module: str
    title: str
    ours: Callable[[], dict[str, Run]]
    theirs: Callable[[], dict[str, Run]]
    work: Mapping[int, float]
    rounds: Mapping[int, int]
    """So many times the repeats: short runs are disturbed more."""
    floors: Mapping[int, tuple[float, float]]
    """Times over the reference in float32 and in bfloat16."""


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def dtype_here() -> torch.dtype:
    """What we compute in."""
    return torch.bfloat16 if cpu_computes_bf16() else torch.float32


def leased(build: Callable[[], nn.Module], source: Mapping[str, Tensor]) -> nn.Module:
    """Our net on those weights, in what we compute in; the lease lasts as long as the process."""
    return Pool().lease(Loadable("bench", build, source, dtype=dtype_here())).__enter__()


def in_two_types(plain: Any, run: Callable[[Any, int], Tensor]) -> dict[str, Run]:
    """The reference's net in float32, and a copy in bfloat16."""
    nets = {"float32": plain, "bfloat16": deepcopy(plain).to(torch.bfloat16)}
    return {name: partial(run, net) for name, net in nets.items()}


def peak(dtype: torch.dtype) -> float:
    """CPU seconds of a product of two matrices."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, dtype=dtype) for _ in range(2))
    return min(seconds(lambda: a @ b) for _ in range(20))


@torch.inference_mode()
def serve(runs: Mapping[str, Run]) -> None:
    """Do what the lines of the standard input ask for: a run's CPU seconds, the peak's, or an output in a file."""
    print("ready", flush=True)
    for line in sys.stdin:
        name, side, path = json.loads(line)
        if name == "peak":
            answer = peak(dtype_here())
        elif path:
            torch.save(runs[name](side), path)
            answer = 0.0
        else:
            answer = seconds(lambda run=runs[name], side=side: run(side))  # type: ignore[misc]
        print(json.dumps(answer), flush=True)


class Child:
    """A process that serves some of the runs."""

    def __init__(self, module: str, what: str, threads: int, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", module, "--child", what, "--threads", str(threads)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=dict(env)
        )

    def __enter__(self) -> Self:
        while self._line() != "ready":
            pass
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, name: str, side: int, path: str = "") -> float:
        """CPU seconds of one run; with `path`, what it gave goes there instead."""
        assert self._process.stdin is not None
        print(json.dumps([name, side, path]), file=self._process.stdin, flush=True)
        return float(json.loads(self._line()))

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process of the benchmark ended early")
        return line.strip()


def compare(mine: Child, peer: Child, side: int, repeats: int) -> dict[str, float]:
    """Least CPU seconds of each, and how far outputs are from the float32 reference (relative norm)."""
    children = {"ours": mine, "float32": peer, "bfloat16": peer}
    with tempfile.TemporaryDirectory() as folder:
        outs: dict[str, Tensor] = {}
        for name, child in children.items():  # warms up, and packs
            path = str(Path(folder) / name)
            child.ask(name, side, path)
            outs[name] = torch.load(path).float()
    best: dict[str, float] = {}
    for _ in range(repeats):
        for name, child in {**children, "peak": mine}.items():
            best[name] = min(best.get(name, 1e9), child.ask(name, side))
    for name in ("ours", "bfloat16"):
        best[name + " error"] = float((outs[name] - outs["float32"]).norm() / outs["float32"].norm())
    return best


def main(step: Step) -> None:
    parser = argparse.ArgumentParser(description=step.title)
    parser.add_argument("--side", type=int, nargs="+", default=list(step.work), choices=list(step.work))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alike", action="store_true")
    parser.add_argument("--child", choices=("ours", "theirs"))
    args = parser.parse_args()
    if args.child:
        torch.set_num_threads(args.threads)
        serve(step.ours() if args.child == "ours" else step.theirs())
        return
    name, tuned = str(dtype_here()).removeprefix("torch."), worker_environment(Settings(), os.environ)
    with (
        Child(step.module, "ours", args.threads, tuned) as mine,
        Child(step.module, "theirs", args.threads, tuned if args.alike else os.environ) as peer,
    ):
        for side in args.side:
            found = compare(mine, peer, side, args.repeats * step.rounds[side])
            rate, most = step.work[side] / found["ours"], 2 * PEAK_SIZE**3 / found["peak"]
            took = f"{found['ours']:.2f} s CPU, {rate / 1e9:.0f} GFLOP/s = {rate / most:.0%} of a plain product's"
            error = f"error {found['ours error']:.1%}, diffusers' bfloat16 {found['bfloat16 error']:.1%}"
            report([Row(f"{step.title}, {side} px, {name}, {args.threads} thread", f"{took}; {error}")])
            floors = step.floors.get(side, (None, None))
            for other, floor in zip(("float32", "bfloat16"), floors, strict=True):
                times = f"{found[other] / found['ours']:.2f} × ({found[other]:.2f} s)"
                report([Row(f"{side} px: faster than diffusers {other} by", times, "" if floor is None else f"≥ {floor} ×")])

"""One guided denoising call of an SD 1.5-size UNet: ours in bfloat16 (where the CPU has it) against diffusers in float32 and bfloat16.

    python -m benchmarks.unet_step [--side 64 256 512] [--repeats 3] [--threads 1] [--alike]

Same weights, in turns, in two processes: diffusers in the environment as it is, ours in that of a worker, which asks the system for large
pages. `--alike` gives diffusers the same. CPU seconds, the best of the repeats. The weights are random; the work is real (batch 2, 77
tokens). The machine's peak is its best rate in a plain product of two matrices of that type, measured in between.
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
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from backend.base.config import Settings
from backend.families.sd.names import from_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.front import worker_environment
from backend.memory.device import cpu_computes_bf16
from backend.memory.pool import Loadable, Pool
from benchmarks.table import Row, report

WORK = {64: 0.0273e12, 256: 0.360e12, 512: 1.607e12}  # operations of one guided call
ROUNDS = {64: 5, 256: 2, 512: 1}  # so many times the repeats: short calls are disturbed more
FLOORS = {64: (6.0, 2.5), 256: (3.2, 1.2), 512: (2.6, 1.4)}  # times over diffusers in float32, in bfloat16
PEAK_SIZE = 1024


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


def dtype_here() -> torch.dtype:
    """What we compute in."""
    return torch.bfloat16 if cpu_computes_bf16() else torch.float32


def reference() -> Any:
    """diffusers' net with random weights, the same ones each time."""
    from benchmarks.peer import UNet2DConditionModel

    torch.manual_seed(0)
    build: Any = UNet2DConditionModel
    return build(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()


def inputs(side: int) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, timesteps and text, the same ones each time."""
    random = torch.Generator().manual_seed(side)
    x = torch.randn(2, 4, side // 8, side // 8, generator=random)
    return x, torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768, generator=random)


def peak(dtype: torch.dtype) -> float:
    """CPU seconds of a product of two matrices."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, dtype=dtype) for _ in range(2))
    return min(seconds(lambda: a @ b) for _ in range(20))


Run = Callable[[int], Tensor]


def ours() -> dict[str, Run]:
    """Our net on the reference's weights; the lease lasts as long as the process."""
    state, dtype = reference().state_dict(), dtype_here()
    source = {name: state[key] for name, key in from_diffusers(state).items()}
    net = Pool().lease(Loadable("bench", lambda: UNet(UNetSizes()), source, dtype=dtype)).__enter__()

    def run(side: int) -> Tensor:
        x, t, context = inputs(side)
        out: Tensor = net(x.to(dtype).contiguous(memory_format=torch.channels_last), t, context.to(dtype))
        return out

    return {"ours": run}


def theirs() -> dict[str, Run]:
    """diffusers in two types."""
    from copy import deepcopy

    plain = reference()
    nets = {"float32": plain, "bfloat16": deepcopy(plain).to(torch.bfloat16)}

    def run(net: Any, side: int) -> Tensor:
        x, t, context = inputs(side)
        out: Tensor = net(x.to(net.dtype), t, context.to(net.dtype)).sample
        return out

    return {name: lambda side, net=net: run(net, side) for name, net in nets.items()}  # type: ignore[misc]


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

    def __init__(self, what: str, threads: int, env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "benchmarks.unet_step", "--child", what, "--threads", str(threads)]
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
    for _ in range(repeats * ROUNDS[side]):
        for name, child in {**children, "peak": mine}.items():
            best[name] = min(best.get(name, 1e9), child.ask(name, side))
    for name in ("ours", "bfloat16"):
        best[name + " error"] = float((outs[name] - outs["float32"]).norm() / outs["float32"].norm())
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--alike", action="store_true")
    parser.add_argument("--child", choices=("ours", "theirs"))
    args = parser.parse_args()
    if args.child:
        torch.set_num_threads(args.threads)
        serve(ours() if args.child == "ours" else theirs())
        return
    name, tuned = str(dtype_here()).removeprefix("torch."), worker_environment(Settings(), os.environ)
    with Child("ours", args.threads, tuned) as mine, Child("theirs", args.threads, tuned if args.alike else os.environ) as peer:
        for side in args.side:
            found = compare(mine, peer, side, args.repeats)
            rate, most = WORK[side] / found["ours"], 2 * PEAK_SIZE**3 / found["peak"]
            took = f"{found['ours']:.2f} s CPU, {rate / 1e9:.0f} GFLOP/s = {rate / most:.0%} of a plain product's"
            error = f"error {found['ours error']:.1%}, diffusers' bfloat16 {found['bfloat16 error']:.1%}"
            report([Row(f"guided step of an SD 1.5-size UNet, {side} px, {name}, {args.threads} thread", f"{took}; {error}")])
            for other, floor in zip(("float32", "bfloat16"), FLOORS[side], strict=True):
                times = f"{found[other] / found['ours']:.2f} × ({found[other]:.2f} s)"
                report([Row(f"{side} px: faster than diffusers {other} by", times, f"≥ {floor} ×")])


if __name__ == "__main__":
    main()

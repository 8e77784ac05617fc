"""One guided denoising call of an SD 1.5-size UNet: ours in bfloat16 (where the CPU has it) against diffusers in float32 and bfloat16.

    python -m benchmarks.unet_step [--side 64 256 512] [--repeats 3] [--threads 1]

Same weights, interleaved in one process. CPU seconds, the best of the repeats. The weights are random; the work is real (batch 2, 77
tokens). The machine's peak is its best rate in a plain product of two matrices of that type, measured in between.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from backend.families.sd.names import from_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.device import cpu_computes_bf16
from backend.memory.pool import Loadable, Pool
from benchmarks.peer import UNet2DConditionModel
from benchmarks.table import Row, report

WORK = {64: 0.0273e12, 256: 0.360e12, 512: 1.607e12}  # operations of one guided call
FLOORS = {64: (6.0, 2.5), 256: (3.2, 1.2), 512: (2.6, 1.4)}  # times over diffusers in float32, in bfloat16
PEAK_SIZE = 1024


def seconds(run: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    begun = time.process_time()
    run()
    return time.process_time() - begun


class Twins:
    """The reference in two types, and our net on the same weights."""

    def __init__(self, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        build: Any = UNet2DConditionModel
        self.plain = build(sample_size=64, cross_attention_dim=768, attention_head_dim=8).eval()
        self.half = deepcopy(self.plain).to(torch.bfloat16)
        state = self.plain.state_dict()
        source = {name: state[key] for name, key in from_diffusers(state).items()}
        self.loadable = Loadable("bench", lambda: UNet(UNetSizes()), source, dtype=dtype)
        self.dtype = dtype

    def peak(self) -> float:
        """Operations per CPU second of a product of two matrices."""
        a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE, dtype=self.dtype) for _ in range(2))
        return 2 * PEAK_SIZE**3 / min(seconds(lambda: a @ b) for _ in range(20))

    @torch.inference_mode()
    def compare(self, side: int, repeats: int) -> dict[str, float]:
        """Least CPU seconds of each, the peak, and how far our output is from the float32 reference (relative norm)."""
        x, context = torch.randn(2, 4, side // 8, side // 8), torch.randn(2, 77, 768)
        t = torch.tensor([500.0, 500.0])
        half_x, half_context = x.bfloat16(), context.bfloat16()
        mine, my_context = x.to(self.dtype).contiguous(memory_format=torch.channels_last), context.to(self.dtype)
        best: dict[str, float] = {"peak": 0.0}
        outs: dict[str, Tensor] = {}
        with Pool().lease(self.loadable) as net:
            runs: dict[str, Callable[[], Tensor]] = {
                "ours": lambda: net(mine, t, my_context),
                "float32": lambda: self.plain(x, t, context).sample,
                "bfloat16": lambda: self.half(half_x, t, half_context).sample,
            }
            for name, run in runs.items():
                outs[name] = run()  # warms up, and packs
            for _ in range(repeats):
                for name, run in runs.items():
                    best[name] = min(best.get(name, 1e9), seconds(run))
                best["peak"] = max(best["peak"], self.peak())
        for name in ("ours", "bfloat16"):
            best[name + " error"] = float((outs[name].float() - outs["float32"]).norm() / outs["float32"].norm())
        return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, nargs="+", default=list(WORK), choices=list(WORK))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    dtype = torch.bfloat16 if cpu_computes_bf16() else torch.float32
    twins, name = Twins(dtype), str(dtype).removeprefix("torch.")
    for side in args.side:
        found = twins.compare(side, args.repeats)
        rate = WORK[side] / found["ours"]
        ours = f"{found['ours']:.2f} s CPU, {rate / 1e9:.0f} GFLOP/s = {rate / found['peak']:.0%} of a plain product's"
        error = f"error {found['ours error']:.1%}, diffusers' bfloat16 {found['bfloat16 error']:.1%}"
        report([Row(f"guided step of an SD 1.5-size UNet, {side} px, {name}, {args.threads} thread", f"{ours}; {error}")])
        for other, floor in zip(("float32", "bfloat16"), FLOORS[side], strict=True):
            times = f"{found[other] / found['ours']:.2f} × ({found[other]:.2f} s)"
            report([Row(f"{side} px: faster than diffusers {other} by", times, f"≥ {floor} ×")])


if __name__ == "__main__":
    main()

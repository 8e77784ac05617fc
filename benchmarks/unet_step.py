"""One guided denoising call of an SD 1.5-size UNet: ours against diffusers, same weights, same dtype, interleaved in one process.

    python -m benchmarks.unet_step [--side 64 256 512] [--repeats 3] [--threads 2]

Prints the median CPU seconds of each and their ratio per size and dtype. The weights are random; the work is real (batch 2, 77 tokens).
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from backend.families.sd.names import from_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.device import DTYPES, cpu_computes_bf16
from backend.memory.pool import Loadable, Pool


def twins(dtype: torch.dtype) -> tuple[Any, Loadable]:
    """The reference in `dtype`, and our net on the same weights."""
    torch.manual_seed(0)
    build: Any = UNet2DConditionModel
    theirs = build(sample_size=64, cross_attention_dim=768, attention_head_dim=8).to(dtype).eval()
    state = theirs.state_dict()
    source = {name: state[key] for name, key in from_diffusers(state).items()}
    return theirs, Loadable("bench", lambda: UNet(UNetSizes()), source, dtype=dtype)


def seconds(run: Callable[[], Tensor]) -> float:
    begun = time.process_time()
    run()
    return time.process_time() - begun


@torch.inference_mode()
def compare(side: int, dtype: torch.dtype, repeats: int) -> tuple[float, float, float]:
    """Median CPU seconds (ours, diffusers) and the largest difference of their outputs."""
    theirs, loadable = twins(dtype)
    x = torch.randn(2, 4, side // 8, side // 8).to(dtype)
    context, t = torch.randn(2, 77, 768).to(dtype), torch.tensor([500.0, 500.0])
    with Pool().lease(loadable) as net:
        shown = x.contiguous(memory_format=torch.channels_last)

        def ours() -> Tensor:
            out: Tensor = net(shown, t, context)
            return out

        def reference() -> Tensor:
            out: Tensor = theirs(x, t, context).sample
            return out

        difference = float((ours().float() - reference().float()).abs().max())
        pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats)]
    return statistics.median(p[0] for p in pairs), statistics.median(p[1] for p in pairs), difference


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dtype", choices=("fp32", "bf16"), nargs="+", default=["fp32", "bf16"] if cpu_computes_bf16() else ["fp32"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"{'side':>5} {'dtype':>9} {'ours s':>8} {'diffusers s':>12} {'ratio':>6} {'max difference':>15}")
    for dtype in (DTYPES[name] for name in args.dtype):
        for side in args.side:
            ours, reference, difference = compare(side, dtype, args.repeats)
            name = str(dtype).removeprefix("torch.")
            print(f"{side:>5} {name:>9} {ours:>8.3f} {reference:>12.3f} {ours / reference:>6.2f} {difference:>15.2e}", flush=True)


if __name__ == "__main__":
    main()

"""Attention at the shapes of published models: torch's fused kernel against two matrix products, and which of them is taken.

    python -m benchmarks.attention [--threads 1] [--repeats 5]

In bfloat16 where the CPU has it, else in float32. CPU seconds, the best of the repeats, in turns. The error is the relative norm of the
difference to float32, with normally distributed queries, keys and values.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from backend.nn import products
from benchmarks.table import Row, report
from benchmarks.turns import dtype_here, seconds

SHAPES = {  # batch, heads, queries, keys, width of a head
    "SD 1.5 at 512 px, to itself": (2, 8, 4096, 4096, 40),
    "SD 1.5 at 512 px, one level down": (2, 8, 1024, 1024, 80),
    "SD 1.5 at 512 px, two levels down": (2, 8, 256, 256, 160),
    "SD 1.5 at 512 px, to a text": (2, 8, 4096, 77, 40),
    "SD 1.5 at 512 px, two levels down, to a text": (2, 8, 256, 77, 160),
    "SDXL at 1,024 px, two levels down": (2, 20, 1024, 1024, 64),
    "a transformer with heads of 128, 1,024 positions and 512 words": (1, 8, 1536, 1536, 128),
    "an autoencoder at 512 px": (1, 1, 4096, 4096, 512),
}


@torch.inference_mode()
def compare(shape: tuple[int, int, int, int, int], repeats: int) -> Row:
    """One shape's row, without its name."""
    b, h, t, s, d = shape
    random = torch.Generator().manual_seed(0)
    dtype = dtype_here()
    q, k, v = (torch.randn(b, h, n, d, generator=random).to(dtype) for n in (t, s, s))
    runs: dict[str, Callable[[], Any]] = {
        "fused": lambda: F.scaled_dot_product_attention(q, k, v),
        "products": lambda: products.attend(q, k, v),
    }
    best = {name: min(seconds(run) for _ in range(2)) for name, run in runs.items()}
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best[name], seconds(run))
    exact = F.scaled_dot_product_attention(q.float(), k.float(), v.float())
    errors = {name: float((run() - exact).norm() / exact.norm()) for name, run in runs.items()}
    taken = "products" if products.suits(q, k) else "fused"
    told = [f"{name} {best[name] * 1e3:.2f} ms (error {errors[name]:.2%})" for name in runs]
    return Row("", f"{', '.join(told)}: {best['fused'] / best['products']:.2f} ×; taken: {taken}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name, shape in SHAPES.items():
        report([Row(f"attention, {name}", compare(shape, args.repeats).measured)])


if __name__ == "__main__":
    main()

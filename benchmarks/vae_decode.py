"""Decoding a picture with an SD-size autoencoder, whole and in tiles, against diffusers in float32 and bfloat16.

    python -m benchmarks.vae_decode [--side 512] [--repeats 2] [--threads 1]

Same random weights, interleaved in one process. CPU seconds, the best of the repeats. Working memory is how far the resident peak of one
decoding is above what is held afterwards, in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from backend.codecs.kl.names import from_diffusers
from backend.codecs.kl.net import AutoencoderKL, KLSizes
from backend.codecs.kl.spec import VaeHandle
from backend.memory.measured import watermark
from backend.memory.pool import Loadable, Pool
from benchmarks.peer import AutoencoderKL as Peer
from benchmarks.table import Row, report
from benchmarks.turns import dtype_here, seconds

TILE = 288  # pixels at most: four tiles of 272
OVERLAP = 32
LEVELS = (128, 256, 512, 512)


def peer() -> Any:
    """The reference with random weights."""
    torch.manual_seed(0)
    build: Any = Peer
    kinds = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    return build(block_out_channels=LEVELS, layers_per_block=2, latent_channels=4, **kinds).eval()


def ours(state: dict[str, Tensor]) -> VaeHandle:
    """Our autoencoder on the reference's weights."""
    names = from_diffusers({key: key for key in state})
    source = {name: state[part.key].reshape(_shape(name, state[part.key])) for name, part in names.items()}
    return VaeHandle(Loadable("bench", lambda: AutoencoderKL(KLSizes()), source, dtype=dtype_here()), KLSizes())


def _shape(name: str, weight: Tensor) -> tuple[int, ...]:
    """Attention's matrices are 1x1 convolutions in our names."""
    shape = tuple(weight.shape)
    return (*shape, 1, 1) if "attn" in name and len(shape) == 2 else shape


def alone(what: str, side: int) -> dict[str, float]:
    """Growth of the peak in bytes while one picture is decoded, whole or in tiles."""
    vae, pool = ours(peer().state_dict()), Pool()
    vae.decode(torch.randn(1, 4, 16, 16), pool)
    latent, above = torch.randn(1, 4, side // 8, side // 8), watermark(torch.device("cpu"))
    if above is None:
        return {"bytes": 0.0}  # not on this system
    if what == "tiled":
        vae.decode_tiled(latent, pool, TILE, OVERLAP)
    else:
        vae.decode(latent, pool)
    return {"bytes": above()}


def child(what: str, side: int) -> float:
    command = [sys.executable, "-m", "benchmarks.vae_decode", "--child", what, "--side", str(side)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(run.stdout.splitlines()[-1])["bytes"])


@torch.inference_mode()
def compare(side: int, repeats: int) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Least CPU seconds of each way, and what each gave."""
    plain = peer()
    state = {key: value.clone() for key, value in plain.state_dict().items()}
    half = peer().to(torch.bfloat16)
    vae, pool = ours(state), Pool()
    latent = torch.randn(1, 4, side // 8, side // 8)
    runs: dict[str, Callable[[], Tensor]] = {
        "ours": lambda: vae.decode(latent, pool),
        "tiled": lambda: vae.decode_tiled(latent, pool, TILE, OVERLAP),
        "float32": lambda: plain.decode(latent).sample,
        "bfloat16": lambda: half.decode(latent.bfloat16()).sample,
    }
    small = torch.randn(1, 4, 8, 8)
    vae.decode(small, pool)  # reads and packs the weights
    best: dict[str, float] = {}
    outs: dict[str, Tensor] = {}
    for _ in range(repeats):
        for name, run in runs.items():
            best[name] = min(best.get(name, 1e9), seconds(lambda run=run, name=name: outs.__setitem__(name, run())))  # type: ignore[misc]
    return best, outs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--child", choices=("whole", "tiled"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.child:
        print(json.dumps(alone(args.child, args.side)))
        return
    best, outs = compare(args.side, args.repeats)
    theirs = (outs["float32"].permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)
    error = float((outs["ours"] - theirs).abs().mean())
    name, size = str(dtype_here()).removeprefix("torch."), args.side
    report([Row(f"decode {size} px, {name}, {args.threads} thread", f"{best['ours']:.2f} s CPU; mean difference {error:.4f} of 1")])
    for other, floor in (("float32", 2.0), ("bfloat16", 1.1)):
        times = f"{best[other] / best['ours']:.2f} × ({best[other]:.2f} s)"
        report([Row(f"decode {size} px: faster than diffusers {other} by", times, f"≥ {floor} ×")])
    tiles = f"{best['tiled'] / best['ours']:.2f} × the time ({best['tiled']:.2f} s)"
    report([Row(f"decode {size} px in tiles of at most {TILE}", tiles, "≤ 1.15 ×")])
    whole, tiled = child("whole", size), child("tiled", size)
    told = f"{tiled / 1e6:.0f} MB against {whole / 1e6:.0f} = {tiled / max(1.0, whole):.2f}"
    report([Row(f"decode {size} px in tiles of at most {TILE}: working memory", told, "≤ 0.33")])


if __name__ == "__main__":
    main()

"""From nothing to the end of the first denoising step: an SD 1.5-size checkpoint, ours against diffusers' `from_single_file`.

    python -m benchmarks.first_step [--path FILE] [--side 256] [--cold] [--repeats 3]

Loading, two texts encoded, one guided step, in processes of their own, in turns; libraries are imported before the clock starts. diffusers
loads in float32, as it does unless told, and in bfloat16. Peak memory is what the process gained, pages of the file included. The weights
are random. With --cold the file is dropped from the page cache before each load.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from backend.base.config import Settings
from backend.base.paths import Folders
from backend.front import worker_environment
from benchmarks.load import drop, read, write
from benchmarks.table import Row, report

WORDS = [49406, 320, 1125, 539, 320, 2368] + [49407] * 71  # "a photo of a cat"
WAYS = ("ours", "bfloat16", "float32")


def resident() -> int:
    """Bytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def ours(path: Path, side: int) -> dict[str, float]:
    from backend.families.load import load_checkpoint
    from backend.memory.device import probe
    from backend.memory.pool import Pool
    from backend.memory.tune import tune

    settings = Settings(memory="cpu")
    tune(settings)
    services = SimpleNamespace(device=probe(settings), settings=settings, folders=Folders.of(path.parent))
    pool, before, begun = Pool(), resident(), time.perf_counter()
    with torch.inference_mode():
        loaded = load_checkpoint(path, services)
        assert loaded.model is not None and loaded.clip is not None
        with pool.lease(loaded.clip.loadable) as text:
            context, _ = text(torch.tensor([WORDS, WORDS]), loaded.clip.loadable.dtype)
        with pool.lease(loaded.model.loadable) as net:
            dtype = loaded.model.loadable.dtype
            x = torch.randn(2, 4, side // 8, side // 8).to(dtype).contiguous(memory_format=torch.channels_last)
            net(x, torch.tensor([999.0, 999.0]), context.to(dtype))
    seconds = time.perf_counter() - begun
    return figures(seconds, before)


def theirs(path: Path, side: int, dtype: torch.dtype) -> dict[str, float]:
    from benchmarks import peer

    with tempfile.TemporaryDirectory() as folder:
        peer.configs_of_sd15(Path(folder))
        pipeline: Any = peer.StableDiffusionPipeline
        before, begun = resident(), time.perf_counter()
        with torch.inference_mode():
            given = {"tokenizer": None, "safety_checker": None, "feature_extractor": None}
            pipe = pipeline.from_single_file(str(path), config=folder, local_files_only=True, torch_dtype=dtype, **given)
            context = pipe.text_encoder(torch.tensor([WORDS, WORDS]))[0]
            pipe.unet(torch.randn(2, 4, side // 8, side // 8, dtype=dtype), torch.tensor([999, 999]), context)
        seconds = time.perf_counter() - begun
        return figures(seconds, before)


def figures(seconds: float, before: int) -> dict[str, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {"seconds": seconds, "peak": used.ru_maxrss * 1024 - before}


def child(way: str, path: Path, side: int) -> dict[str, float]:
    """One measurement in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.first_step", "--child", way, "--path", str(path), "--side", str(side)]
    env = worker_environment(Settings(), os.environ) if way == "ours" else dict(os.environ)
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def measure(path: Path, side: int, cold: bool, repeats: int) -> None:
    """Print rows."""
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    reads = []
    for _ in range(repeats):
        for way in WAYS:
            if cold:
                drop(path)
            found[way].append(child(way, path, side))
        if cold:
            drop(path)
        reads.append(read(path)["seconds"])
    best = {way: min(one["seconds"] for one in runs) for way, runs in found.items()}
    peak = {way: min(one["peak"] for one in runs) / 1e9 for way, runs in found.items()}
    about = "cold" if cold else "file in the page cache"
    rows = [
        Row(
            f"SD 1.5-size checkpoint to the end of the first step, {side} px, {about}",
            f"{best['ours']:.2f} s (reading the file: {min(reads):.2f} s), {peak['ours']:.2f} GB at most",
        )
    ]
    for way, goal in (("float32", "≥ 2.0 ×"), ("bfloat16", "")):
        text = f"{best[way] / best['ours']:.2f} × ({best[way]:.2f} s, {peak[way]:.2f} GB)"
        rows.append(Row(f"faster than diffusers' from_single_file in {way} by", text, goal))
    report(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--path", type=Path, default=Path(tempfile.gettempdir()) / "emulsion-bench-sd15.safetensors")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--cold", action="store_true", help="only with the file dropped from the page cache")
    parser.add_argument("--child", choices=WAYS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(ours(args.path, args.side) if args.child == "ours" else theirs(args.path, args.side, getattr(torch, args.child))))
        return
    made = not args.path.exists()
    if made:
        write(args.path)
    try:
        for cold in (True,) if args.cold else (False, True):
            measure(args.path, args.side, cold, args.repeats)
    finally:
        if made:
            args.path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

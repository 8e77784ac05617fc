"""Load an SD 1.5-size checkpoint with random weights: time against reading the file, and peak memory against the weights as kept.

    python -m benchmarks.load [--path FILE] [--dtype bf16|fp32] [--warm]

Writes the file (2.1 GB, fp16) to a temporary place unless it is there. Two times are taken: until every net is leased, which is when it can
be used (its weights are read, converted and packed as its layers come to them), and until every weight of UNet, autoencoder and text
encoder is resident in its compute dtype, packed. Each measurement runs in a process of its own, with the environment of a worker.
Cold: the file was dropped from the page cache before.
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
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from backend.base.config import Settings
from backend.base.paths import Folders
from backend.codecs.kl.net import AutoencoderKL, KLSizes
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.families.load import load_checkpoint
from backend.families.sd.unet import UNet, UNetSizes
from backend.front import worker_environment
from backend.memory.device import probe
from backend.memory.pool import Pool
from backend.nn.layers import Layer
from backend.weights.save import save_safetensors
from backend.weights.slot import Resident
from benchmarks.table import Row, report


def write(path: Path) -> None:
    """A random checkpoint of Stable Diffusion 1.5's size under the published names."""
    with torch.device("meta"):
        parts = {
            "model.diffusion_model.": UNet(UNetSizes()),
            "first_stage_model.": AutoencoderKL(KLSizes()),
            "cond_stage_model.transformer.": ClipText(ClipSizes()),
        }
    write_random(path, {prefix + name: tuple(p.shape) for prefix, net in parts.items() for name, p in net.named_parameters()})


def write_random(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """A file of random weights in half precision."""
    facts = {key: (shape, torch.float16) for key, shape in shapes.items()}
    save_safetensors(path, {key: _random(shape) for key, shape in shapes.items()}, shapes=facts)


def _random(shape: tuple[int, ...]) -> Callable[[], Tensor]:
    def make() -> Tensor:
        return (torch.randn(shape) * 0.02).half()

    return make


def as_worker(module: str) -> None:
    """Go on in a process with a worker's environment, which libraries read before any code of ours runs."""
    if (environment := worker_environment(Settings(), os.environ)) != dict(os.environ):
        raise SystemExit(subprocess.run([sys.executable, "-m", module, *sys.argv[1:]], env=environment).returncode)


def drop(path: Path) -> None:
    """Ask the system to forget the file's pages."""
    with path.open("rb") as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(path: Path) -> dict[str, float]:
    """Seconds to read the file into memory, in large pieces."""
    buffer = bytearray(16 << 20)
    begun = time.perf_counter()
    with path.open("rb", buffering=0) as f:
        while f.readinto(buffer):
            pass
    return {"seconds": time.perf_counter() - begun}


def load(path: Path, dtype: str) -> dict[str, float]:
    """Seconds until all is leased and until all is resident, bytes kept, and the growth of peak memory."""
    settings = Settings(memory="cpu", unet_dtype=dtype, vae_dtype=dtype, text_encoder_dtype=dtype)  # type: ignore[arg-type]
    services = SimpleNamespace(device=probe(settings), settings=settings, folders=Folders.of(path.parent))
    pool, before = Pool(), _resident()
    begun = time.perf_counter()
    loaded = load_checkpoint(path, services)
    assert loaded.model is not None and loaded.vae is not None and loaded.clip is not None
    loadables: list[Any] = [part.loadable for part in (loaded.model, loaded.vae, loaded.clip)]
    with ExitStack() as stack:
        nets = [stack.enter_context(pool.lease(loadable)) for loadable in loadables]
        leased = time.perf_counter() - begun
        for net in nets:
            for module in net.modules():
                for slot in module.slots.values() if isinstance(module, Layer) else ():
                    assert isinstance(slot, Resident)
                    slot.settle()
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    kept = sum(row["resident_bytes"] for row in pool.table())
    return {"leased": leased, "seconds": seconds, "kept": kept, "peak": peak, "fresh": fresh(kept)}


def fresh(nbytes: int, piece: int = 8 << 20) -> float:
    """Seconds until the system has given this much memory: what any conversion that keeps its result takes at least."""
    begun = time.perf_counter()
    kept = [torch.zeros(piece, dtype=torch.uint8) for _ in range(nbytes // piece)]
    seconds = time.perf_counter() - begun
    del kept
    return seconds


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def child(what: str, path: Path, dtype: str) -> dict[str, float]:
    """Run one measurement in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.load", "--child", what, "--path", str(path), "--dtype", dtype]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=worker_environment(Settings(), os.environ))
    result: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return result


def measure(path: Path, dtype: str, cold: bool, repeats: int) -> None:
    """Print rows."""
    reads: list[dict[str, float]] = []
    loads: list[dict[str, float]] = []
    for _ in range(repeats):
        for what, results in (("read", reads), ("load", loads)):
            if cold:
                drop(path)
            results.append(child(what, path, dtype))
    reading, best = min(r["seconds"] for r in reads), min(loads, key=lambda r: r["seconds"])
    peak, kept = max(r["peak"] / r["kept"] for r in loads), best["kept"] / 1e9
    about = f"{dtype}, {'cold' if cold else 'file in the page cache'}"
    ready = f"{best['leased']:.2f} s = {best['leased'] / reading:.2f} × reading"
    times = f"{best['seconds']:.2f} s against {reading:.2f} s to read the file and {best['fresh']:.2f} s to be given as much fresh memory"
    report(
        [
            Row(f"SD 1.5-size file to {about}: ready to use", ready, "≤ 1.2 ×"),
            Row("every weight resident and packed", times),
            Row(f"peak memory against the weights as kept, {kept:.2f} GB", f"{peak:.2f} ×", "≤ 1.15 ×"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--path", type=Path, default=Path(tempfile.gettempdir()) / "emulsion-bench-sd15.safetensors")
    parser.add_argument("--dtype", choices=("bf16", "fp32", "fp16"), nargs="+", default=["bf16", "fp32"])
    parser.add_argument("--warm", action="store_true", help="only with the file in the page cache")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", choices=("read", "load"))
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read(args.path) if args.child == "read" else load(args.path, args.dtype[0])))
        return
    made = not args.path.exists()
    if made:
        write(args.path)
    try:
        for dtype in args.dtype:
            for cold in (False,) if args.warm else (True, False):
                measure(args.path, dtype, cold, args.repeats)
    finally:
        if made:
            args.path.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

"""Nets of SD 1.5's and SDXL's size in memory: switching between them, and SDXL's with room for a quarter of its weights.

    python -m benchmarks.residency [--folder DIR] [--side 256] [--threads 1]

Writes both nets as fp16 with random weights (7 GB; kept where --folder is given). Room for both: what a lease costs when both were used.
Room for one: what the other costs until all its weights are there, against reading its file, from memory and cold. A quarter: the same
outputs bit for bit, the time of a step, and how much of the bringing ran while layers computed.
"""

from __future__ import annotations

import argparse
import math
import mmap
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.device import probe
from backend.memory.pool import Loadable, Pool
from backend.memory.tune import physical_cores
from backend.memory.ways import Ways, open_around
from backend.nn.layers import Layer
from backend.weights.file import Views
from backend.weights.mapped import READING
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from backend.weights.slot import Resident, materialise
from benchmarks.load import as_worker, drop, read
from benchmarks.recognise import SDXL
from benchmarks.table import Row, report

SIZES = {"SD 1.5": UNetSizes(), "SDXL": SDXL}
_TRIES = 5
Try = tuple[float, float, float]
"""Seconds until all weights are there, CPU seconds of that, and seconds to read the file."""
_NOISE = 1 << 24  # random values that all weights are cut from


def write(path: Path, sizes: UNetSizes) -> None:
    """A net under its own names."""
    noise = (torch.randn(_NOISE) * 0.02).half()
    with torch.device("meta"):
        shapes = {name: (tuple(p.shape), torch.float16) for name, p in UNet(sizes).named_parameters()}

    def cut(shape: tuple[int, ...], seed: int) -> Callable[[], Tensor]:
        count = torch.Size(shape).numel()
        return lambda: noise.roll(seed)[: min(count, _NOISE)].repeat(-(-count // _NOISE))[:count].reshape(shape)

    save_safetensors(path, {name: cut(shape, i) for i, (name, (shape, _)) in enumerate(shapes.items())}, shapes=shapes)


def loadable(path: Path, sizes: UNetSizes, dtype: torch.dtype) -> Loadable:
    return Loadable(str(path), lambda: UNet(sizes), Views(open_weights(path)), dtype=dtype)


def lease(pool: Pool, what: Loadable) -> float:
    """Seconds until the net can be used."""
    begun = time.perf_counter()
    with pool.lease(what):
        return time.perf_counter() - begun


def settle(pool: Pool, what: Loadable) -> float:
    """Seconds until every weight of the net is there and packed."""
    begun = time.perf_counter()
    with pool.lease(what) as net:
        for module in net.modules():
            for slot in module.slots.values() if isinstance(module, Layer) else ():
                assert isinstance(slot, Resident)
                slot.settle()
    return time.perf_counter() - begun


def limit(path: Path, sizes: UNetSizes, dtype: torch.dtype) -> Row:
    """What making a net's weights ready costs one core when no memory is new and nothing is waited for: no way of loading is faster."""
    with torch.device("meta"):
        net = UNet(sizes)
    source, converting, packing = Views(open_weights(path)), 0.0, 0.0
    room = torch.empty(max(p.numel() for p in net.parameters()), dtype=dtype)
    for _ in range(2):  # the second time the file is mapped
        converting = packing = 0.0
        for place, module in net.named_modules():
            for own, _ in module.named_parameters(recurse=False):
                assert isinstance(module, Layer)
                begun = time.thread_time()
                weight = materialise(source[f"{place}.{own}" if place else own], (), torch.device("cpu"), dtype, room)
                converted = time.thread_time()
                module.pack(own, weight)
                converting, packing = converting + converted - begun, packing + time.thread_time() - converted
    total = sum(tensor.nbytes for tensor in source.values()) / 1e9
    best = physical_cores() * total / (converting + packing)
    rates = f"converts {total / converting:.1f} GB/s and packs {total / packing:.1f}"
    return Row("the limit: one core", f"{rates}; the {physical_cores()} of this machine make {best:.1f} GB/s ready at best")


def by_turns(pool: Pool, models: dict[str, Loadable], attempt: Callable[[Pool, Loadable], Try]) -> dict[str, list[Try]]:
    """Tries of each model, one after the other."""
    found: dict[str, list[Try]] = {name: [] for name in models}
    for name in list(models) * _TRIES:
        found[name].append(attempt(pool, models[name]))
    return found


def warm_try(pool: Pool, what: Loadable) -> Try:
    """The file is copied from memory: what else the machine does must not make reading look slow, so that is told in CPU seconds."""
    cpu = time.process_time()
    read(Path(what.key))
    return settled(pool, what, time.process_time() - cpu)


def cold_try(pool: Pool, what: Loadable) -> Try:
    """The file is read just before, through the page cache and around it; the faster way counts. Once before that, uncounted: disks that
    are shared give more for a moment after a pause."""
    path = Path(what.key)
    drop(path)
    read_around(path)
    reading = read(path)["seconds"]
    drop(path)
    return settled(pool, what, min(reading, read_around(path)))


def settled(pool: Pool, what: Loadable, reading: float) -> Try:
    cpu = time.process_time()
    return settle(pool, what), time.process_time() - cpu, reading


def read_around(path: Path, threads: int = 2, piece: int = 8 << 20) -> float:
    """Seconds to read the file around the page cache; infinite where that cannot be."""
    try:
        descriptor = open_around(path)
    except OSError:
        return math.inf
    own = threading.local()

    def one(at: int) -> None:
        if not hasattr(own, "buffer"):
            own.buffer = mmap.mmap(-1, piece)
        os.preadv(descriptor, [own.buffer], at)

    begun = time.perf_counter()
    with ThreadPoolExecutor(threads) as readers:
        list(readers.map(one, range(0, path.stat().st_size, piece)))
    os.close(descriptor)
    return time.perf_counter() - begun


def switching(models: dict[str, Loadable], nbytes: dict[str, int]) -> None:
    """Rows for two models."""
    names = list(models)
    both = Pool(budget=sum(nbytes.values()) + (64 << 20))
    for name in names:
        settle(both, models[name])
    times = [lease(both, models[name]) for name in names]
    report([Row(f"switch {names[0]} ↔ {names[1]}, room for both", f"{max(times) * 1000:.0f} ms, nothing is read", "≤ 200 ms")])
    both.free()
    one = Pool(budget=max(nbytes.values()) + (64 << 20))
    settle(one, models[names[1]])
    for name, warm in by_turns(one, models, warm_try).items():
        settled, cpu, _ = min(warm)
        reading = min(reading for _, _, reading in warm)
        told = f"{settled:.2f} s until every weight is packed ({cpu:.2f} CPU), {reading:.2f} s to read the file"
        report([Row(f"switch to {name}, room for one, file in the page cache", f"{told}: {reading / settled:.0%} of its speed", "≥ 80 %")])
    for name, tries in by_turns(one, models, cold_try).items():
        settled, cpu, reading = sorted(tries, key=lambda found: found[2] / found[0])[len(tries) // 2]
        ratios = ", ".join(f"{reading / settled:.0%}" for settled, _, reading in tries)
        told = f"{settled:.2f} s until every weight is packed ({cpu:.2f} CPU), {reading:.2f} s to read the file just before"
        what = f"switch to {name}, room for one, cold, the median"
        report([Row(what, f"{told}: {reading / settled:.0%} of its speed (each: {ratios})", "≥ 80 %")])
    one.free()
    report([limit(Path(models["SD 1.5"].key), SIZES["SD 1.5"], models["SD 1.5"].dtype)])


def quarter(what: Loadable, nbytes: int, side: int) -> None:
    """Rows for a net with room for a quarter of its weights."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, side // 8, side // 8, generator=g).to(what.dtype).contiguous(memory_format=torch.channels_last)
    context, y = torch.randn(2, 77, 2048, generator=g).to(what.dtype), torch.randn(2, 2816, generator=g).to(what.dtype)

    def run(pool: Pool) -> tuple[Tensor, float, float]:
        with torch.inference_mode(), pool.lease(what) as net:
            net(x, torch.tensor([500.0, 500.0]), context, y)  # reads, packs, learns the order
            wall, cpu = time.perf_counter(), time.process_time()
            out = net(x, torch.tensor([400.0, 400.0]), context, y)
            return out, time.perf_counter() - wall, time.process_time() - cpu

    whole = Pool()
    expected, wall, cpu = run(whole)
    whole.free()
    small = Pool(budget=nbytes // 4)
    out, slow, slow_cpu = run(small)
    kept = small.table()[0]["resident_bytes"] / nbytes
    moved = small.moves[-1]
    same = "the same bits" if torch.equal(out, expected) else "OTHER BITS"
    report(
        [
            Row(f"SDXL-size step, {side} px, room for 25 % of {nbytes / 1e9:.1f} GB", f"{same}; {kept:.0%} kept", "bit-equal"),
            Row("its time against all weights kept", f"{slow:.2f} s against {wall:.2f} ({slow_cpu:.2f} against {cpu:.2f} CPU)"),
            Row("bringing the rest, two steps", f"{moved.nbytes / 1e9:.1f} GB; {moved.why}"),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    as_worker("benchmarks.residency")
    torch.set_num_threads(args.threads)
    ways = Ways()
    READING.maps, READING.around = ways.maps, ways.around
    dtype = probe().compute_dtype("unet")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        models: dict[str, Loadable] = {}
        nbytes: dict[str, Any] = {}
        for name, sizes in SIZES.items():
            path = folder / f"bench-{name.replace(' ', '-')}.safetensors"
            if not path.exists():
                print(f"writing {path.name}", file=sys.stderr, flush=True)
                write(path, sizes)
            drop(path)  # how it is best read is measured where it is not in memory
            models[name] = loadable(path, sizes, dtype)
            nbytes[name] = sum(entry.nbytes for entry in open_weights(path).values()) // 2 * dtype.itemsize
        switching(models, nbytes)
        quarter(models["SDXL"], nbytes["SDXL"], args.side)


if __name__ == "__main__":
    main()

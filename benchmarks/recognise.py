"""Telling what a checkpoint is from its header: milliseconds for 2,500 tensors. `python -m benchmarks.recognise`. Writes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from backend.families.load import recognised
from backend.families.sd.names import to_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.weights.file import Entry, WeightFile
from benchmarks.table import Row, report

KEYS, ROUNDS, GOAL = 2500, 10, "≤ 50 ms"
SDXL = UNetSizes(
    channels=(320, 640, 1280), res_blocks=(2, 2, 2), depth_in=(0, 0, 2, 2, 10, 10), depth_middle=10,
    depth_out=(10, 10, 10, 2, 2, 2, 0, 0, 0), context=2048, heads=None, head_dim=64, linear=True, adm=2816,
)  # fmt: skip


class Names(WeightFile):
    """A header without a file."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries, self.path, self.metadata = entries, Path("model.safetensors"), {}

    def __getitem__(self, key: str) -> Entry:
        return self.entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def tensor(self, key: str) -> Tensor:
        raise AssertionError("recognising reads no values")


def main() -> None:
    """Measure and print rows."""
    with torch.device("meta"):
        net = {name: Entry(tuple(p.shape), p.dtype, p.nbytes) for name, p in UNet(SDXL).named_parameters()}
    other = to_diffusers(SDXL, net)
    single = {f"model.diffusion_model.{name}": entry for name, entry in net.items()}
    single |= {f"conditioner.embedders.1.model.{i}": Entry((1,), torch.float16, 2) for i in range(KEYS - len(single))}
    report([measure("single file", Names(single)), measure("diffusers", Names({other[name]: entry for name, entry in net.items()}))])


def measure(spelling: str, file: WeightFile) -> Row:
    """Family and sizes of a header; the middle one of several rounds."""
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        family, sizes, _named = recognised(file)
        seconds.append(time.perf_counter() - start)
        if family.name != "Stable Diffusion XL" or sizes != SDXL:
            raise SystemExit(f"took SDXL for {family.name}")
    return Row(f"recognise SDXL by {len(file):,} names, {spelling}", f"{sorted(seconds)[ROUNDS // 2] * 1000:.1f} ms", GOAL)


if __name__ == "__main__":
    main()

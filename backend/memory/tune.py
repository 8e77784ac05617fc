"""Set torch's own switches to what the flags and the machine ask for. Done once, when a process that computes starts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch

from backend.base.config import Settings
from backend.memory.device import probe
from backend.nn import eight
from backend.nn.attention import PREFERENCE
from backend.nn.packed import PACKING
from backend.weights.mapped import READING

_KERNELS = {"pytorch": "fused", "sage": "fused", "flash": "fused", "split": "products", "quad": "products"}
_FAST = ("fp16_accumulation", "autotune", "fp8_matrix_mult")
_MORE = ("int8_matrix_mult",)
"""Faster and less exact too, but only by name."""


def tune(settings: Settings) -> list[str]:
    """Carry the flags out; returns a sentence for each that means something else here than it says."""
    said = []
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, min(torch.get_num_threads(), physical_cores())))
    if settings.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
    READING.mapped = settings.mmap
    PACKING.float32 = slow_float32_product()
    PREFERENCE.kernel = _KERNELS.get(settings.attention or "", "")
    PREFERENCE.upcast = settings.upcast_attention is True
    if settings.attention == "sage":
        said.append("--use-sage-attention: torch's fused attention is used, which is exact and has no package to install.")
    if settings.fast is not None:
        wanted = settings.fast or _FAST
        if "fp16_accumulation" in wanted:
            torch.backends.cuda.matmul.allow_fp16_accumulation = True
        if "autotune" in wanted:
            torch.backends.cudnn.benchmark = True
        eight.WISH.floats, eight.WISH.integers = "fp8_matrix_mult" in wanted, "int8_matrix_mult" in wanted
        if "fp8_matrix_mult" in settings.fast and not eight.multiplies(probe(settings).device):
            said.append("--fast fp8_matrix_mult: this device does not multiply in float8, so products are computed in the usual type.")
        known = (*_FAST, *_MORE)
        said += [f"--fast {name}: there is no such option here; there are {', '.join(known)}." for name in wanted if name not in known]
    return said


def slow_float32_product(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether torch's usual float32 product is the slower one: its library does not use all that processors of another maker can do.

    Asked of the maker's name and not of a clock, since a choice that a busy moment could turn would change pictures from run to run.
    """
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return False
    return "AuthenticAMD" in text or "HygonGenuine" in text


def physical_cores(topology: Path = Path("/sys/devices/system/cpu"), usable: Iterable[int] | None = None) -> int:
    """Cores this process may use, a core with two threads counted once: two threads share its multipliers and only get in each other's way.

    `usable` are the processors this process may run on. All of them count where the machine does not tell which share a core.
    """
    if usable is None:
        affinity = getattr(os, "sched_getaffinity", None)
        usable = affinity(0) if affinity is not None else range(os.cpu_count() or 1)
    cores = set()
    for cpu in usable:
        try:
            cores.add((topology / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip())
        except OSError:
            cores.add(str(cpu))
    return max(1, len(cores))

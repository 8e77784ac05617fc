"""Facts about the device a worker owns, and what follows from them: which dtype each part of a model computes in, and how much fits."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from backend.base.config import Settings
from backend.memory.heap import kept

PartOfModel = Literal["unet", "vae", "text_encoder"]
DTYPES: dict[str, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8_e4m3fn": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
    "fp8_e8m0fnu": torch.float8_e8m0fnu,
}
GIB = 1 << 30
_WITHOUT_HALF = ("1630", "1650", "1660", "T500", "T550", "T600", "T1000", "T1200", "T2000", "MX450", "MX550", "CMP 30HX")


@dataclass(frozen=True)
class DeviceFacts:
    """What is known of one device. `half` holds the 16-bit dtypes its hardware computes in."""

    device: torch.device
    name: str
    total: int
    """Bytes of its memory."""
    half: tuple[torch.dtype, ...]

    def compute_dtype(self, part: PartOfModel, settings: Settings | None = None, stored: torch.dtype | None = None) -> torch.dtype:
        """The dtype `part` computes in: the flag's if one was given, else the fastest that keeps its quality on this device.

        fp16 is never chosen on a CPU, where it is emulated. The autoencoder avoids fp16, whose range some of them exceed; so do nets
        whose weights are `stored` neither in it nor in fp32: they were trained in bf16, and many large ones exceed that range too. 8-bit
        flags mean storage; computing is in the usual dtype.
        """
        wanted = _flag(part, settings)
        if wanted is not None and wanted.itemsize > 1:
            return wanted
        if part == "vae" and settings is not None and settings.vae_on_cpu:
            return torch.bfloat16 if cpu_computes_bf16() else torch.float32
        if self.device.type == "cpu":
            return torch.bfloat16 if torch.bfloat16 in self.half else torch.float32
        if part == "vae":
            return torch.bfloat16 if torch.bfloat16 in self.half else torch.float32
        if stored not in (None, torch.float16, torch.float32) and torch.bfloat16 in self.half:
            return torch.bfloat16
        return torch.float16 if torch.float16 in self.half else torch.bfloat16 if torch.bfloat16 in self.half else torch.float32

    def budget(self, settings: Settings | None = None) -> int:
        """Bytes the pool may fill: what the flags say, else the device's memory less what others and activations need.

        --gpu-only and --highvram leave little to others, --lowvram fills half, --novram keeps nothing: every weight is brought at each use.
        """
        settings = settings or Settings()
        given = settings.ram_budget if self.device.type == "cpu" and settings.ram_budget is not None else settings.vram_budget
        if given is not None:
            return given
        if settings.memory == "none":
            return 0
        usual = GIB // 4 if settings.memory in ("gpu-only", "high") else max(GIB // 2, self.total // 10)
        room = max(0, self.total - (usual if settings.reserve_vram is None else settings.reserve_vram))
        return room // 2 if settings.memory == "low" else room

    def spare(self) -> int | None:
        """Bytes that could be had now, with what other programs hold; None where that cannot be asked."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            return int(free + torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device))
        return memory_spare() if self.device.type == "cpu" else None

    def sentence(self, settings: Settings | None = None) -> str:
        """One line for logs and doctor: the device, and the number types that it and the flags lead to."""
        unet, vae = (str(self.compute_dtype(part, settings)).removeprefix("torch.") for part in ("unet", "vae"))
        return f"{self.name} ({self.device}), {self.total / GIB:.1f} GiB, diffusion in {unet}, autoencoder in {vae}"


def probe(settings: Settings | None = None) -> DeviceFacts:
    """Look at the machine and choose the device: a GPU where there is one, unless the flags ask for the CPU."""
    cpu = settings is not None and settings.memory == "cpu"
    if not cpu and torch.cuda.is_available():
        index = settings.default_device if settings is not None and settings.default_device is not None else 0
        properties = torch.cuda.get_device_properties(index)
        half = cuda_half(properties.name, properties.major)
        return DeviceFacts(torch.device("cuda", index), properties.name, properties.total_memory, half)
    if not cpu and torch.backends.mps.is_available():
        return DeviceFacts(torch.device("mps"), "Apple GPU", int(torch.mps.recommended_max_memory()), (torch.float16,))
    half = (torch.bfloat16,) if cpu_computes_bf16() else ()
    return DeviceFacts(torch.device("cpu"), platform.processor() or platform.machine() or "CPU", memory_total(), half)


def cuda_half(name: str, major: int) -> tuple[torch.dtype, ...]:
    """The 16-bit dtypes that an NVIDIA card of this name and generation computes in. Turing cards without tensor cores answer fp16 with
    values that are no numbers."""
    if major >= 8:
        return (torch.float16, torch.bfloat16)
    return () if major < 6 or any(card in name for card in _WITHOUT_HALF) else (torch.float16,)


def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU multiplies bfloat16 in hardware: AVX512-BF16, AMX-BF16 or Arm BF16. Where there is no such list: no."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        return False
    line = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
    return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(line.partition(":")[2].split()))


def memory_total(meminfo: Path = Path("/proc/meminfo"), limit: Path = Path("/sys/fs/cgroup/memory.max")) -> int:
    """Bytes of main memory this process may use: the machine's, or its container's limit. 8 GiB where neither can be read."""
    found = []
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:"))
        found.append(int(line.split()[1]) * 1024)
    except (OSError, StopIteration, ValueError):
        found.append(8 * GIB)
    try:
        text = limit.read_text().strip()
        if text.isdecimal():
            found.append(int(text))
    except OSError:
        pass  # no container limit here
    return min(found)


def memory_available(meminfo: Path = Path("/proc/meminfo"), group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Bytes of main memory that this process can have without anything being pushed out to disk: what the machine has left, and what
    its container may still fill, with the pages of files that are given up when memory is short. None where that cannot be read."""
    try:
        line = next(line for line in meminfo.read_text().splitlines() if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None
    available = int(line.split()[1]) * 1024
    try:
        used = int((group / "memory.current").read_text()) - _of_files(group / "memory.stat")
        return max(0, min(available, int((group / "memory.max").read_text()) - used))
    except (OSError, ValueError):  # no container, or one without a limit
        return available


def _of_files(stat: Path) -> int:
    rows = (line.split() for line in stat.read_text().splitlines())
    return sum(int(nbytes) for name, nbytes in rows if name in ("active_file", "inactive_file"))


def memory_spare() -> int | None:
    """Bytes of main memory that this process can have: what `memory_available` says, and what it keeps of what it freed."""
    available = memory_available()
    return None if available is None else available + kept()


def _flag(part: PartOfModel, settings: Settings | None) -> torch.dtype | None:
    if settings is None:
        return None
    chosen = {"unet": settings.unet_dtype, "vae": settings.vae_dtype, "text_encoder": settings.text_encoder_dtype}[part]
    name = chosen or settings.force_dtype
    return DTYPES[name] if name else None

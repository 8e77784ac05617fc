"""What activations really took, against what a family's formula says they take: remembered, so that the next plan knows better."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from backend.storage.remembered import Remembered

_LEAST, _MOST = 0.25, 8.0  # times an estimate; beyond, what was measured is something else
_WORTH = 0.05  # change of a factor that is worth writing down


class Measured:
    """Factors by model, dtype and estimate (which stands for the shape), kept in a JSON file where one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self._factors = Remembered(path, _sensible)

    def expect(self, key: str, estimate: int) -> int:
        """Bytes to plan for."""
        return int(estimate * self._factors.get(f"{key}|{estimate}", 1.0))

    def learn(self, key: str, estimate: int, taken: int) -> None:
        """A run for which `estimate` bytes were estimated took `taken`. The largest of recent runs counts."""
        if estimate <= 0 or taken <= 0:
            return
        name = f"{key}|{estimate}"
        known = self._factors.get(name)
        factor = min(_MOST, max(_LEAST, taken / estimate))
        if known is not None:
            factor = max(factor, known * 0.9)
        self._factors.put(name, factor, save=known is None or abs(factor - known) > _WORTH * known)


def _sensible(factor: Any) -> float:
    if not _LEAST <= float(factor) <= _MOST:
        raise ValueError(factor)
    return float(factor)


def watermark(device: torch.device) -> Callable[[], int] | None:
    """Begin to watch the peak of memory; call what is returned for the bytes by which it was above what is held then. None where that
    cannot be measured."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: torch.cuda.max_memory_allocated(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins at what is held now (Linux)
    except OSError:
        return None
    return _above


def _above() -> int:
    rows = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(("VmHWM", "VmRSS")))
    held = {name: int(value.split()[0]) * 1024 for name, value in rows.items()}
    return max(0, held["VmHWM"] - held["VmRSS"])

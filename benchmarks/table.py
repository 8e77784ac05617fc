"""Rows of the performance table: how scripts print them and how the runner reads them back."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

HEAD = "| What | Measured | Goal |\n|---|---|---|"


@dataclass(frozen=True)
class Row:
    """One measured thing, as text: "0.12 ms" and "≤ 0.15 ms". `goal` is empty where there is none."""

    what: str
    measured: str
    goal: str = ""

    def __str__(self) -> str:
        return f"| {self.what} | {self.measured} | {self.goal} |"


def report(rows: Iterable[Row]) -> None:
    """Print rows where the runner finds them."""
    for row in rows:
        print(row, flush=True)


def read(text: str) -> list[Row]:
    """The rows in a script's output; headings and rules of tables are left out."""
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    wanted = [c for c in cells if len(c) >= 2 and c[0] and c[0].lower() != "what" and set("".join(c)) - set("-: ")]
    return [Row(c[0], c[1], c[2] if len(c) > 2 else "") for c in wanted]


def machine() -> str:
    """The machine in a few words: processor, cores, memory, system, Python, torch."""
    from importlib.metadata import version

    processor, memory = platform.processor() or platform.machine(), ""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        processor = names[0] if names else processor
    if meminfo.exists():
        total = next(int(line.split()[1]) for line in meminfo.read_text().splitlines() if line.startswith("MemTotal"))
        memory = f", {total / 2**20:.0f} GiB"
    software = f"Python {platform.python_version()}, torch {version('torch')}"
    return f"{processor}, {os.cpu_count()} cores{memory}, {platform.system()} {platform.release()}, {software}"

"""What is where and why it moved, as text for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MOVES = 20  # the latest ones


def text(rows: Iterable[Mapping[str, Any]], moves: Sequence[tuple[float, str]], limit: int, results: int) -> str:
    """`rows` as the pool's table gives them, `moves` as (seconds since the epoch, sentence), `limit` the bytes that models and activations
    may fill now, `results` how many results of earlier runs are kept."""
    lines = [("Model", "on the device", "type", "now", "why")]
    for row in rows:
        state = "in use" if row["leased"] else "kept"
        patches = ", patched" if row["patches"] else ""
        brought = f", {row['streamed']} weights brought at each use" if row["streamed"] else ""
        lines.append((row["title"], f"{row['resident_bytes'] / 1e6:,.0f} MB", row["dtype"], f"{state}{patches}{brought}", row["why"]))
    widths = [max(len(line[i]) for line in lines) for i in range(4)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip() for line in lines]
    if len(lines) == 1:
        table = ["No model is on the device."]
    about = f"Models and activations may fill {limit / 1e6:,.0f} MB now. {results:,} results of earlier runs are kept."
    happened = [f"{time.strftime('%H:%M:%S', time.localtime(at))}  {sentence}" for at, sentence in moves[-_MOVES:]]
    return "\n".join([*table, "", about, *(["", "What happened:", *happened] if happened else [])])

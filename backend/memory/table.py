"""What is where and why it moved, as text for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_MOVES = 20  # the latest ones
_HEAD = ("Model", "on the device", "type", "spent on reading", "last used", "now", "why")


def text(rows: Iterable[Mapping[str, Any]], moves: Sequence[tuple[float, str]], limit: int, results: int, now: float | None = None) -> str:
    """`rows` as the pool's table gives them, `moves` as (seconds since the epoch, sentence), `limit` the bytes that models and activations
    may fill now, `results` how many results of earlier runs are kept, `now` the time for which ages are told."""
    held = list(rows)
    at_last = time.time() if now is None else now
    lines = [_HEAD, *(_line(row, at_last) for row in held)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_HEAD) - 1)]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)).rstrip() for line in lines]
    if not held:
        table = ["No model is on the device."]
    fill = sum(row["resident_bytes"] for row in held)
    about = f"Models fill {_mb(fill)} of the {_mb(limit)} that they and activations may fill now."
    about += f" {results:,} results of earlier runs are kept."
    happened = [f"{time.strftime('%H:%M:%S', time.localtime(at))}  {sentence}" for at, sentence in moves[-_MOVES:]]
    return "\n".join([*table, "", about, *(["", "What happened, the latest last:", *happened] if happened else [])])


def _line(row: Mapping[str, Any], now: float) -> tuple[str, ...]:
    kept, whole = row["resident_bytes"], row["total_bytes"]
    size = _mb(kept) if kept == whole else f"{kept / 1e6:,.0f} of {_mb(whole)}"
    state = ("in use" if row["leased"] else "kept") + (", patched" if row["patches"] else "")
    read = f"{row['read_seconds']:.1f} s" if row["read_seconds"] else "-"
    return row["title"], size, row["dtype"], read, "now" if row["leased"] else _ago(now - row["last_used"]), state, row["why"]


def _mb(nbytes: int) -> str:
    return f"{nbytes / 1e6:,.0f} MB"


def _ago(seconds: float) -> str:
    if seconds < 60:
        return f"{max(0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 5400 else f"{seconds / 3600:.0f} h ago"

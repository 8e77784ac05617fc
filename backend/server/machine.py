"""What this machine is, as far as the front can tell."""

from __future__ import annotations

import os
from functools import cache


def memory() -> tuple[int, int]:
    """Total and available memory of the machine in bytes; zeros where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemTotal"].split()[0]) * 1024, int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass  # not Linux: ask the system configuration instead
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0, 0


@cache
def total() -> int:
    """Bytes of memory this machine has; 0 where the system does not say."""
    return memory()[0]

"""Threads that help, and that nothing depends on."""

from __future__ import annotations

import threading


def begun(thread: threading.Thread) -> bool:
    """Start a thread that only helps, and ends with the process. Where there is no memory for one, whoever waits for its work does it."""
    thread.daemon = True
    try:
        thread.start()
    except RuntimeError:
        return False
    return True

"""What happened since the start, counted, and how it stands, in the text form that Prometheus reads."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backend.server import machine

if TYPE_CHECKING:
    from backend.server.state import State

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Requests:
    """Answers by method and status."""

    def __init__(self) -> None:
        self.answered: Counter[tuple[str, int]] = Counter()

    def count(self, method: str, status: int) -> None:
        """One answer."""
        self.answered[method, status] += 1


def text(state: State) -> str:
    """Every figure of a front."""
    return "\n".join(_lines(state)) + "\n"


def _lines(state: State) -> Iterator[str]:
    queue, workers = state.queue, state.jobs.workers
    yield from _gauge("queue_pending", "Jobs that wait.", len(queue.pending))
    yield from _gauge("queue_running", "Jobs that run.", len(queue.running))
    yield from _gauge("queue_paused", "1 while the queue is paused.", int(state.jobs.held))
    yield from _family(
        "jobs_total", "counter", "Jobs that ended since the start.", ((f'state="{s}"', n) for s, n in state.history.ended.items())
    )
    yield from _gauge("worker_ready", "1 while the worker can run jobs.", int(any(w.ready.is_set() for w in workers)))
    restarts = sum(getattr(worker, "restarts", 0) for worker in workers)
    yield from _family("worker_restarts_total", "counter", "Times a worker was started again.", [("", restarts)])
    took = ((f'part="{part}"', seconds) for part, seconds in state.hello.get("seconds", {}).items())
    yield from _family("worker_start_seconds", "gauge", "How long the worker took to load everything, and its node packs of that.", took)
    yield from _gauge("sockets", "Open websockets.", len(state.hub))
    yield from _family("events_total", "counter", "The number of the last event.", [("", state.jobs.log.last)])
    answers = ((f'method="{m}",status="{s}"', n) for (m, s), n in sorted(state.requests.answered.items()))
    yield from _family("http_requests_total", "counter", "Answers since the start.", answers)
    total, free = machine.memory()
    yield from _gauge("memory_total_bytes", "Memory of the machine.", total)
    yield from _gauge("memory_free_bytes", "Memory of the machine that is free.", free)
    yield from _gauge("front_resident_bytes", "Memory of this process.", resident())
    for name in sorted({name for beat in state.beats.values() for name in beat.get("device", {})}):
        figures = ((number, beat["device"][name]) for number, beat in sorted(state.beats.items()) if name in beat.get("device", {}))
        rows = [(f'worker="{number}"' if number else "", value) for number, value in figures if isinstance(value, (int, float))]
        yield from _family(f"device_{name}_bytes", "gauge", "Memory of the device, as the worker says.", rows)


def resident(pid: int | str = "self") -> int:
    """Resident bytes of a process; 0 where the system does not say."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError, AttributeError):
        return 0


def _gauge(name: str, help: str, value: float) -> Iterator[str]:
    return _family(name, "gauge", help, [("", value)])


def _family(name: str, kind: str, help: str, samples: object) -> Iterator[str]:
    yield f"# HELP emulsion_{name} {help}"
    yield f"# TYPE emulsion_{name} {kind}"
    for labels, value in samples:  # type: ignore[attr-defined]
        yield f"emulsion_{name}{'{' + labels + '}' if labels else ''} {value}"

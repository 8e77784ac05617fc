"""Which of several ways of computing the same is taken: measured once on a machine, written down, and the same ever after.

A choice that were made anew in every process would turn with whatever else the machine does, and with it the last bits of pictures.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backend.storage.remembered import Remembered

Way = Callable[[], object]
Clock = Callable[[Way], float]
"""Seconds that a way takes, once."""

CLEARLY = 1.1  # times as fast as the usual way; less may be the noise of the machine
_ROUNDS = 3
_SLOW = 0.5  # seconds of the first round from which one more is enough: what takes so long is not easily disturbed


@dataclass(frozen=True)
class Chosen:
    """A way, and the seconds of each that could be run."""

    way: str
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.way} ({', '.join(f'{name} {took * 1e3:.3g} ms' for name, took in self.seconds.items())})"


class Choices:
    """What was chosen on `machine` (its processor or device, and torch's version), kept in the file `path` where one is given."""

    def __init__(self, path: Path | None, machine: str) -> None:
        self.machine = machine
        self._kept = Remembered(path, _read, lambda chosen: {"way": chosen.way, "seconds": dict(chosen.seconds)})
        self._lock = threading.Lock()

    def known(self, question: str) -> Chosen | None:
        """What was chosen, if it was."""
        return self._kept.get(f"{self.machine}: {question}")

    def all(self) -> dict[str, Chosen]:
        """Everything that was chosen on this machine, by question."""
        start = f"{self.machine}: "
        return {name.removeprefix(start): chosen for name, chosen in self._kept.items() if name.startswith(start)}

    def choose(self, question: str, usual: str, ways: Mapping[str, Way], clock: Clock) -> str:
        """The name of the fastest way, or of the usual one unless another is clearly faster. Measured in turns, the best of a few each,
        unless that was done; ways that raise RuntimeError cannot be taken here. The usual way must work."""
        with self._lock:
            known = self.known(question)
            if known is not None and known.way in ways:
                return known.way
            best: dict[str, float] = {}
            able, first, round = dict(ways), 0.0, 0
            while round <= (_ROUNDS if first < _SLOW else 1):
                for name in list(able):
                    try:
                        took = clock(able[name])
                    except RuntimeError:
                        if name == usual:
                            raise
                        best.pop(name, None)
                        del able[name]
                        continue
                    if round:
                        best[name] = min(best.get(name, took), took)
                    else:  # the first is for what is done once: compiling, packing, touching memory
                        first += took
                round += 1
            fastest = min(best, key=lambda name: best[name])
            way = fastest if best[fastest] * CLEARLY < best[usual] else usual
            self._kept.put(f"{self.machine}: {question}", Chosen(way, best))
            return way


def _read(stored: Any) -> Chosen:
    way, seconds = stored["way"], {str(name): float(took) for name, took in stored["seconds"].items()}
    if not isinstance(way, str):
        raise TypeError(way)
    return Chosen(way, seconds)

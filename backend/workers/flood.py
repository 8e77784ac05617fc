"""Lines of a process that may print without end: so many a second are passed on, the rest are counted."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST_A_SECOND = 2000


class Flood:
    """`tell` gets the lines. Give chunks of bytes as they come to `take`, and call `end` when there are no more."""

    def __init__(self, tell: Callable[[str], None], most_line: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._most_line, self._clock = tell, most_line, clock
        self._rest = b""
        self._began = clock()
        self._told = self._left_out = 0

    def take(self, chunk: bytes) -> None:
        """Lines without an end are cut."""
        if self._clock() - self._began >= 1.0:
            self._sum_up()
        if self._told >= MOST_A_SECOND:  # not even taken apart: a flood costs its reader next to nothing
            head, end, tail = chunk.rpartition(b"\n")
            self._left_out += head.count(b"\n") + len(end)
            self._rest = tail if end else self._rest
            return
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for i, line in enumerate(lines):
            if self._told >= MOST_A_SECOND:
                self._left_out += len(lines) - i
                break
            self._told += 1
            self._tell(line.decode("utf-8", "replace").rstrip("\r"))
        if len(self._rest) > self._most_line:
            self._told += 1
            self._tell(self._rest.decode("utf-8", "replace"))
            self._rest = b""

    def end(self) -> None:
        """Nothing more comes."""
        self._sum_up()
        if self._rest:
            self._tell(self._rest.decode("utf-8", "replace"))

    def _sum_up(self) -> None:
        if self._left_out:
            self._tell(f"... {self._left_out} lines are left out: the worker prints more than {MOST_A_SECOND} a second.")
        self._began, self._told, self._left_out = self._clock(), 0, 0

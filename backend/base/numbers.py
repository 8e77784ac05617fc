"""Numbers of saved files, shared by processes that save into the same directory side by side.

The next number follows from the files that are there; what another process is about to write is not. A process that takes numbers leaves an
empty file for each in a directory of marks, which only one can create.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

VARIABLE = "EMULSION_NUMBERS"
"""Of the environment: the directory of marks, where several processes save."""


class Numbers:
    """Numbers this process takes. Without a directory of marks it takes what it is offered: nobody else saves."""

    def __init__(self, marks: Path | None = None) -> None:
        self._marks = marks
        self._taken: dict[str, list[int]] = {}

    def share(self, marks: Path) -> None:
        """From now on others save too. Set by the process's composition root."""
        marks.mkdir(parents=True, exist_ok=True)
        self._marks = marks

    def take(self, folder: Path, name: str, first: int, count: int) -> int:
        """`count` numbers in a row, `first` or later, that nobody else has; the first of them. Those below `first` are written by now."""
        if self._marks is None:
            return first
        key = hashlib.blake2b(os.fsencode(os.path.normcase(folder / name)), digest_size=12).hexdigest()
        for number in [n for n in self._taken.get(key, ()) if n < first]:
            self._taken[key].remove(number)
            self._mark(key, number).unlink(missing_ok=True)
        while True:
            taken: list[int] = []
            with contextlib.suppress(FileExistsError):
                for number in range(first, first + count):
                    os.close(os.open(self._mark(key, number), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                    taken.append(number)
            if len(taken) == count:
                self._taken.setdefault(key, []).extend(taken)
                return first
            for number in taken:
                self._mark(key, number).unlink(missing_ok=True)
            first += len(taken) + 1

    def _mark(self, key: str, number: int) -> Path:
        assert self._marks is not None
        return self._marks / f"{key}-{number}"


NUMBERS = Numbers()

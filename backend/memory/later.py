"""Have the system read the model files that the next job in line names, while the present one computes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from backend.memory.threads import begun

_PIECE = 4 << 20  # bytes asked for at once: the question whether it is still wanted comes between
_LEFT = 512 << 20  # bytes of memory that are free now and stay so


class Later:
    """`wanted()` are the files, `available()` the bytes of main memory that can be had (None: unknown). Each file is read once."""

    def __init__(self, wanted: Callable[[], Collection[Path]], available: Callable[[], int | None]) -> None:
        self._wanted, self._available = wanted, available
        self._begun: set[Path] = set()

    def __bool__(self) -> bool:
        """Whether some of the files were not begun to be read."""
        wanted = set(self._wanted())
        self._begun &= wanted
        return self._begun != wanted

    def next_uses(self, after: int) -> dict[str, int]:
        """The files, with the number of models used before each; `after` are those of the present job."""
        return {str(path): after + i for i, path in enumerate(self._wanted())}

    def read(self, present: Iterable[str]) -> tuple[Path, int] | None:
        """Begin to read the first file that is not among the `present` ones, was not begun before, and fits into memory beside all that
        is there. Says which, and its bytes. Nothing where the system takes no such hints."""
        here = set(present)
        for path in self._wanted() if self else ():
            if str(path) in here or path in self._begun or not hasattr(os, "posix_fadvise"):
                continue
            self._begun.add(path)
            try:
                nbytes = path.stat().st_size
            except OSError:  # it has just gone
                continue
            free = self._available()
            if path.is_file() and (free is None or nbytes + _LEFT <= free):
                reader = threading.Thread(target=self._read, args=(path, nbytes), name="read-later")
                return (path, nbytes) if begun(reader) else None
        return None

    def _read(self, path: Path, nbytes: int) -> None:
        try:
            with path.open("rb", buffering=0) as file:
                for at in range(0, nbytes, _PIECE):
                    if path not in self._wanted():
                        return
                    os.posix_fadvise(file.fileno(), at, _PIECE, os.POSIX_FADV_WILLNEED)
        except OSError:  # only a hint; whoever needs the file will say what is wrong with it
            return

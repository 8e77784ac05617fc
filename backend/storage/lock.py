"""One server per data directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from backend.base.errors import Refused


class DirectoryLock:
    """Holds `<directory>/.lock` until `release()` or the end of the process; the kernel drops it after a crash.

    Raises Refused when another process holds it, naming that process.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / ".lock"
        self._file: IO[str] | None = open(self.path, "a+", encoding="utf-8")  # noqa: SIM115  held for the life of the process
        try:
            _lock(self._file)
        except OSError as error:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            self._file = None
            by = f" by process {holder}" if holder else ""
            raise Refused(
                f"The data directory {directory} is already in use{by}.",
                hint="Stop the other server, or give this one its own --base-directory or --user-directory.",
            ) from error
        self._file.seek(0)
        self._file.truncate()
        self._file.write(str(os.getpid()))
        self._file.flush()

    def release(self) -> None:
        """Give the directory back. Safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(1 << 30)  # a byte past the text, so that the holder's number stays readable
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)

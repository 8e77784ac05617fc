"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from backend.base.errors import BadFile


class NoSpace(BadFile):
    """The disk is full or the quota is used up."""


@contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under `path` only when the block ends well: temp file beside it, fsync, rename.

    Missing folders are made. Raises NoSpace, or BadFile when the place cannot be written; an older file then stays as it was.
    """
    part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(part, "wb")  # noqa: SIM115  closed below, before the rename
    except OSError as error:
        raise explain(error, path) from error
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
        _sync_directory(path.parent)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise explain(error, path) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` atomically."""
    with atomic(path) as file:
        file.write(data)


def explain(error: OSError, path: Path) -> BadFile:
    """The operating system's refusal as a sentence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(f"There is no space left to write {path.name}.", hint=f"Free some space on the disk that holds {path.parent}.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return BadFile(f"{path.name} cannot be written: {path.parent} is read-only for this program.", hint="Change its permissions.")
    if error.errno == errno.ENAMETOOLONG:
        return BadFile(f"The file name {path.name[:40]!r}… is too long.", hint="Use at most 200 characters.")
    return BadFile(f"{path.name} cannot be written: {error.strerror or error}.")


def _sync_directory(directory: Path) -> None:
    """Make the rename itself durable; systems that cannot open a directory do without."""
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

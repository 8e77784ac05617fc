"""Open any weight file by what it contains, not by its name."""

from __future__ import annotations

import errno
from pathlib import Path

from backend.base.errors import BadFile, MissingFile, OutOfMemory
from backend.weights.file import WeightFile, bad
from backend.weights.folder import open_folder
from backend.weights.gguf import GgufFile
from backend.weights.pickle import PickleFile, is_zip
from backend.weights.quant.stored import with_numbers
from backend.weights.safetensors import SafetensorsFile


def open_weights(path: Path | str) -> WeightFile:
    """A safetensors, GGUF or PyTorch file, or a folder of them.

    Raises MissingFile when nothing is there, BadFile when it is damaged, dangerous, or no weight file at all, OutOfMemory where the
    system has none even for the opening.
    """
    path = Path(path)
    if path.is_dir():
        return open_folder(path, open_weights)
    try:
        with path.open("rb") as f:
            head = f.read(64)
        size = path.stat().st_size
        if size == 0:
            raise bad(path, "it is empty")
        if head.startswith(b"GGUF"):
            return GgufFile(path)
        if head.startswith(b"PK\x03\x04") or (head[:1] == b"\x80" and not _safetensors(head)):
            return PickleFile(path)
        if _safetensors(head):
            return with_numbers(SafetensorsFile(path))
        if is_zip(path):
            return PickleFile(path)
    except FileNotFoundError as error:
        hint = f"Put it into {path.parent}, or choose another file."
        raise MissingFile(f"There is no file {path.name}.", hint=hint, file=path) from error
    except OSError as error:
        if error.errno == errno.ENOMEM:
            raise OutOfMemory(f"There is no memory left to open {path.name}.", hint="Close other programs.", file=path) from error
        text = f"{path.name} cannot be read: {error.strerror or error}."
        raise BadFile(text, hint="Check the disk and the permissions.", file=path) from error
    raise _other(path, head, size)


def _safetensors(head: bytes) -> bool:
    return head[8:9] == b"{"


def _other(path: Path, head: bytes, size: int) -> BadFile:
    """Say what a file that is not one of ours seems to be."""
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype", b"<html")):
        return bad(path, "it is a web page, not weights", "The download was answered with a page, perhaps a login. Try again.")
    if text.startswith(b"version https://git-lfs"):
        return bad(path, "it is only a pointer that Git LFS left", "Fetch the real file with `git lfs pull`.")
    if not head.strip(b"\0"):
        return bad(path, f"it begins with zeros ({size} bytes)", "The download did not finish: download it again.")
    return bad(path, "it is no safetensors, GGUF or PyTorch file", "Choose a model file, or download it again.")

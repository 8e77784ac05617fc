"""What a result was made with, in a form that is saved with it: the same manifest on the same kind of device means the same bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.base.paths import Folders

WHOLE = 64 << 20
"""Files up to this size are digested whole."""
_PIECE = 64 << 10
_PIECES = 256
_SEEDS = ("seed", "noise_seed")
_DEEPEST = 512  # characters that a file's name may have


class Manifest:
    """`facts` are those of the process: versions, device, dtypes. Files that a graph names are added, by folder and name."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = dict(facts)
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, prompt: Mapping[str, Any], folders: Folders) -> dict[str, Any]:
        """The manifest of a graph in the API form: the facts, `seeds` by node, `files` by place with their fingerprints."""
        files = {place: self._fingerprint(path) for place, path in sorted(_files(prompt, folders))}
        seeds = {id: value for id, name, value in _constants(prompt) if name in _SEEDS and isinstance(value, int)}
        return {**self._facts, "seeds": seeds, "files": files}

    def _fingerprint(self, path: Path) -> str:
        try:
            about = path.stat()
            key = (str(path), about.st_size, about.st_mtime_ns)
            if key not in self._known:
                self._known[key] = fingerprint(path)
            return self._known[key]
        except OSError as error:
            return f"unreadable: {error.strerror}"


def fingerprint(path: Path) -> str:
    """`sha256:...` of a file's content; for one above `WHOLE` bytes `sampled:...`, of its size, its beginning and pieces spread evenly.

    The beginning of a model file holds the names, shapes and places of all its tensors, so that files of equal samples are, but for
    deliberate work, equal.
    """
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        if size <= WHOLE:
            return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(1 << 20))
        for i in range(_PIECES):
            file.seek((size - _PIECE) * i // (_PIECES - 1))
            digest.update(file.read(_PIECE))
    return "sampled:" + digest.hexdigest()


def _constants(prompt: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Node, input and value of every constant."""
    for id, node in prompt.items():
        inputs = node.get("inputs") if isinstance(node, Mapping) else None
        for name, value in inputs.items() if isinstance(inputs, Mapping) else ():
            yield id, name, value


def _files(prompt: Mapping[str, Any], folders: Folders) -> set[tuple[str, Path]]:
    """Place ("checkpoints/a.safetensors", "input/b.png") and path of every file that a constant names."""
    found: set[tuple[str, Path]] = set()
    for value in {value for _, _, value in _constants(prompt) if isinstance(value, str) and 0 < len(value) <= _DEEPEST}:
        if not os.path.splitext(value)[1] or "\n" in value:
            continue
        for kind in folders.kinds:
            path = folders.find(kind, value)
            if path is not None and path.is_file():
                found.add((f"{kind}/{value}", path))
        name = value.removesuffix(" [input]")
        path = folders.input / name
        if ".." not in Path(name).parts and not Path(name).is_absolute() and "\0" not in name and path.is_file():
            found.add((f"input/{name}", path))
    return found

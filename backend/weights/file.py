"""The one surface of every kind of weight file: a mapping of names to shapes and dtypes, with tensors that are views on the file."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.weights.quant.packed import FLOAT8, Packed, float8


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says about one tensor."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    nbytes: int


Header = Mapping[str, Entry]


class WeightFile(Mapping[str, Entry]):
    """An opened file. Opening reads the header; bytes stay on disk until a tensor is used."""

    path: Path
    metadata: Mapping[str, str]

    @property
    def mark(self) -> str:
        """Identity of the content, as far as the file system tells: path, size and time of change."""
        stat = self.path.stat()
        return f"{self.path}@{stat.st_size}-{stat.st_mtime_ns}"

    @abstractmethod
    def tensor(self, key: str) -> Tensor:
        """The tensor, as a view on the file where its format allows. Read-only by agreement. Raises KeyError."""

    def packed(self, key: str) -> Packed | None:
        """The tensor in the few bits in which the file keeps it; None for one of 16 bits or more. Raises KeyError."""
        return float8(self.tensor(key)) if self[key].dtype in FLOAT8 else None

    def prefetch(self, key: str) -> None:
        """Ask the system to read this tensor's bytes soon. A hint."""

    def release(self, key: str) -> None:
        """Tell the system that this tensor's pages may leave this process's memory. A hint; they are read again when needed."""


class Listed(WeightFile):
    """A file whose header was read into `_entries`."""

    _entries: dict[str, Entry]

    def __getitem__(self, key: str) -> Entry:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Renamed(WeightFile):
    """Another file under other names. `names` maps each new name to the name in `file`."""

    def __init__(self, file: WeightFile, names: Mapping[str, str]) -> None:
        self.file, self.names = file, dict(names)
        self.path, self.metadata = file.path, file.metadata

    def __getitem__(self, key: str) -> Entry:
        return self.file[self.names[key]]

    @property
    def mark(self) -> str:
        return self.file.mark

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def tensor(self, key: str) -> Tensor:
        return self.file.tensor(self.names[key])

    def packed(self, key: str) -> Packed | None:
        return self.file.packed(self.names[key])

    def prefetch(self, key: str) -> None:
        self.file.prefetch(self.names[key])

    def release(self, key: str) -> None:
        self.file.release(self.names[key])


class Views(Mapping[str, Tensor]):
    """A weight file seen as a mapping of its tensors."""

    def __init__(self, file: WeightFile) -> None:
        self.file = file

    def __getitem__(self, key: str) -> Tensor:
        return self.file.tensor(key)

    def __contains__(self, key: object) -> bool:
        return key in self.file

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)


def bad(path: Path, text: str, hint: str = "The file is damaged or incomplete: download or export it again.") -> BadFile:
    """A BadFile that names the file."""
    return BadFile(f"{path.name}: {text}.", hint=hint, file=path)


def identity(file: WeightFile) -> str:
    """What tells the content of a file from that of others."""
    return file.mark

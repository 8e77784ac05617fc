"""The one surface of every kind of weight file: a mapping of names to shapes and dtypes, with tensors that are views on the file."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from backend.base.errors import BadFile
from backend.weights.mapped import Place
from backend.weights.quant.packed import FLOAT8, Packed, float8, stacked, unpacks


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

    def places(self, key: str) -> tuple[Place, ...]:
        """Where the bytes lie of which this tensor is made; () for one that is in no file as it is. Raises KeyError."""
        return ()

    def prefetch(self, key: str) -> None:
        """Ask the system to read this tensor's bytes soon. A hint."""
        for file, start, nbytes in self.places(key):
            file.prefetch(start, nbytes)

    def release(self, key: str) -> None:
        """Tell the system that this tensor's pages may leave this process's memory. A hint; they are read again when needed."""
        for file, start, nbytes in self.places(key):
            file.release(start, nbytes)


class Listed(WeightFile):
    """A file whose header was read into `_entries`."""

    _entries: dict[str, Entry]

    def __getitem__(self, key: str) -> Entry:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


@dataclass(frozen=True, slots=True)
class Piece:
    """A tensor of a file, or the `index`-th of `parts` equal cuts of it along the first axis."""

    key: str
    index: int = 0
    parts: int = 1
    rows: int = 0
    """Its length along that axis, where whoever made it knew the sizes of the net; else 0."""

    def cut(self, whole: Tensor) -> Tensor:
        return whole if self.parts == 1 else whole.chunk(self.parts)[self.index]


Origin = str | tuple[Piece, ...]
"""Where a weight of a net comes from: the name of a tensor, or pieces that are stacked along the first axis."""


class Renamed(WeightFile):
    """Another file under other names. `names` maps each new name to the name in `file`, or to pieces that together make the tensor."""

    def __init__(self, file: WeightFile, names: Mapping[str, Origin]) -> None:
        self.file, self.names = file, dict(names)
        self.path, self.metadata = file.path, file.metadata

    def __getitem__(self, key: str) -> Entry:
        origin = self.names[key]
        if isinstance(origin, str):
            return self.file[origin]
        entries = [(self.file[piece.key], piece.parts) for piece in origin]
        first = entries[0][0]
        rows = sum(entry.shape[0] // parts for entry, parts in entries)
        return Entry((rows, *first.shape[1:]), first.dtype, sum(entry.nbytes // parts for entry, parts in entries))

    @property
    def mark(self) -> str:
        return self.file.mark

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def tensor(self, key: str) -> Tensor:
        origin = self.names[key]
        if isinstance(origin, str):
            return self.file.tensor(origin)
        return torch.cat([piece.cut(self.file.tensor(piece.key)) for piece in origin])

    def packed(self, key: str) -> Packed | None:
        """Pieces in few bits are put together when they are made into numbers."""
        origin = self.names[key]
        if isinstance(origin, str):
            return self.file.packed(origin)
        parts = [None if piece.parts > 1 else self.file.packed(piece.key) for piece in origin]
        return stacked([part for part in parts if part is not None]) if None not in parts else None

    def places(self, key: str) -> tuple[Place, ...]:
        return tuple(place for name in keys_of(self.names[key]) for place in self.file.places(name))

    def used(self) -> Iterator[str]:
        """The names in the file that are used."""
        return (name for origin in self.names.values() for name in keys_of(origin))


def keys_of(origin: Origin) -> tuple[str, ...]:
    """The tensors of the file that a weight is made of."""
    return (origin,) if isinstance(origin, str) else tuple(piece.key for piece in origin)


class Widened(WeightFile):
    """Another file, some of whose matrices have more columns here: zeros."""

    def __init__(self, file: WeightFile, columns: Mapping[str, int]) -> None:
        self.file, self.columns = file, dict(columns)
        self.path, self.metadata = file.path, file.metadata

    @property
    def mark(self) -> str:
        return self.file.mark

    def __getitem__(self, key: str) -> Entry:
        entry, columns = self.file[key], self.columns.get(key)
        if columns is None:
            return entry
        return Entry((entry.shape[0], columns), entry.dtype, entry.nbytes // max(1, entry.shape[1]) * columns)

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)

    def tensor(self, key: str) -> Tensor:
        whole, columns = self.file.tensor(key), self.columns.get(key)
        if columns is None:
            return whole
        wide = whole.new_zeros(whole.shape[0], columns)
        wide[:, : whole.shape[1]] = whole
        return wide

    def packed(self, key: str) -> Packed | None:
        return None if key in self.columns else self.file.packed(key)

    def places(self, key: str) -> tuple[Place, ...]:
        return self.file.places(key)


class Views(Mapping[str, Tensor]):
    """A weight file seen as a mapping of its tensors."""

    def __init__(self, file: WeightFile) -> None:
        self.file = file

    def __getitem__(self, key: str) -> Tensor:
        return self.file.tensor(key)

    def on(self, key: str, device: torch.device) -> Tensor:
        """The tensor for use on `device`: numbers that are made from few bits are made there."""
        packed = None if self.file[key].dtype in FLOAT8 or not unpacks(device) else self.file.packed(key)
        return self.file.tensor(key) if packed is None else packed.moved(lambda part: part.to(device)).dense()

    def __contains__(self, key: object) -> bool:
        return key in self.file

    def __iter__(self) -> Iterator[str]:
        return iter(self.file)

    def __len__(self) -> int:
        return len(self.file)


def bad(path: Path, text: str, hint: str = "The file is damaged or incomplete: download or export it again.") -> BadFile:
    """A BadFile that names the file."""
    return BadFile(f"{path.name}: {text}.", hint=hint, file=path)


def stored_in(file: Header) -> torch.dtype | None:
    """The dtype that most bytes of a file are in; of numbers that are kept in few bits, one of 8 bits. None for an empty file."""
    taken: dict[torch.dtype, int] = {}
    for entry in file.values():
        few = entry.nbytes < math.prod(entry.shape) * entry.dtype.itemsize
        dtype = torch.uint8 if few else entry.dtype
        taken[dtype] = taken.get(dtype, 0) + entry.nbytes
    return max(taken, key=lambda dtype: taken[dtype], default=None)


def identity(file: WeightFile) -> str:
    """What tells the content of a file from that of others."""
    return file.mark

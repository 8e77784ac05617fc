"""Declarative renames from the names in a file to the names of a net.

A keymap is a list of rules; the first rule that knows a key decides. Keys that no rule knows are left out and reported by `unmatched`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from backend.weights.file import Entry, WeightFile
from backend.weights.mapped import Place


@dataclass(frozen=True, slots=True)
class Part:
    """One tensor of the net made from one of the file: the i-th of `parts` equal pieces along the first axis, maybe transposed,
    with `ones` axes of length one at its end (a linear layer as a 1x1 convolution)."""

    key: str
    index: int = 0
    parts: int = 1
    transpose: bool = False
    ones: int = 0

    def shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        cut = (shape[0] // self.parts, *shape[1:]) if self.parts > 1 else shape
        return (cut[::-1] if self.transpose else cut) + (1,) * self.ones

    def tensor(self, whole: Tensor) -> Tensor:
        cut = whole.chunk(self.parts)[self.index] if self.parts > 1 else whole
        cut = cut.T if self.transpose else cut
        return cut.reshape(*cut.shape, *(1,) * self.ones)


class Rule(Protocol):
    """Net names for a key of the file, or None when the rule does not know the key."""

    def __call__(self, key: str) -> Mapping[str, Part] | None: ...


@dataclass(frozen=True, slots=True)
class Prefix:
    """Replace the beginning `old` by `new`."""

    old: str
    new: str = ""

    def __call__(self, key: str) -> Mapping[str, Part] | None:
        return {self.new + key[len(self.old) :]: Part(key)} if key.startswith(self.old) else None


@dataclass(frozen=True, slots=True)
class Rename:
    """Keys that match `pattern` as a whole become `name`, where \\1 stands for a group."""

    pattern: str
    name: str
    transpose: bool = False

    def __call__(self, key: str) -> Mapping[str, Part] | None:
        match = re.fullmatch(self.pattern, key)
        return {match.expand(self.name): Part(key, transpose=self.transpose)} if match else None


@dataclass(frozen=True, slots=True)
class Split:
    """Keys that match `pattern` are cut along the first axis into equal pieces with these names (a joint in_proj, say)."""

    pattern: str
    names: tuple[str, ...]

    def __call__(self, key: str) -> Mapping[str, Part] | None:
        match = re.fullmatch(self.pattern, key)
        if match is None:
            return None
        return {match.expand(name): Part(key, i, len(self.names)) for i, name in enumerate(self.names)}


@dataclass(frozen=True, slots=True)
class Drop:
    """Keys that match are known and not needed."""

    pattern: str

    def __call__(self, key: str) -> Mapping[str, Part] | None:
        return {} if re.fullmatch(self.pattern, key) else None


@dataclass(frozen=True, slots=True)
class Mapped:
    """What a keymap makes of a file's keys."""

    parts: Mapping[str, Part]
    unmatched: tuple[str, ...]


def apply(rules: Sequence[Rule], keys: Iterable[str]) -> Mapped:
    """Net name -> where it comes from, for every key that some rule knows. Two keys for one name keep the first."""
    parts: dict[str, Part] = {}
    unmatched = []
    for key in keys:
        found = next((made for rule in rules if (made := rule(key)) is not None), None)
        if found is None:
            unmatched.append(key)
            continue
        for name, part in found.items():
            parts.setdefault(name, part)
    return Mapped(parts, tuple(unmatched))


class MappedNames(WeightFile):
    """A file under the names of a net."""

    def __init__(self, file: WeightFile, parts: Mapping[str, Part]) -> None:
        self.file, self.parts = file, dict(parts)
        self.path, self.metadata = file.path, file.metadata

    def __getitem__(self, key: str) -> Entry:
        part = self.parts[key]
        entry = self.file[part.key]
        return Entry(part.shape(entry.shape), entry.dtype, entry.nbytes // part.parts)

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)

    def tensor(self, key: str) -> Tensor:
        part = self.parts[key]
        return part.tensor(self.file.tensor(part.key))

    def places(self, key: str) -> tuple[Place, ...]:
        return self.file.places(self.parts[key].key)

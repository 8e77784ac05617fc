"""Merges of models as patches: every weight becomes keep · a + add · b, computed where the weight is fetched. No model is copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from backend.weights.patch import Patch
from backend.weights.slot import Delta, materialise


class Held(Protocol):
    """What is leased of a handle: weights, and the changes made to them."""

    @property
    def key(self) -> str: ...
    @property
    def source(self) -> Mapping[str, Tensor]: ...
    @property
    def deltas(self) -> Mapping[str, tuple[Delta, ...]]: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Weights:
    """The weights of a handle as its patches leave them, by the names that the handle takes patches under."""

    parts: Mapping[str, Held]
    """By the prefix of the names of each part; "" for a handle of one part."""

    @classmethod
    def of(cls, handle: Any) -> Self:
        """Of a model, an autoencoder, or a text encoder of one or several parts."""
        parts = getattr(handle, "parts", None)
        if parts is None:
            return cls({"": handle.leasable() if hasattr(handle, "leasable") else handle.loadable})
        return cls({f"clip_{part.branch}.": part.leasable() for part in parts})

    @property
    def mark(self) -> str:
        """Identity of content and patches."""
        return "|".join(f"{part.key}#{part.fingerprint}" for part in self.parts.values())

    def __iter__(self) -> Iterator[str]:
        return (prefix + name for prefix, part in self.parts.items() for name in part.source)

    def find(self, name: str) -> tuple[Held, str] | None:
        """The part that holds a weight and its name there."""
        for prefix, part in self.parts.items():
            if name.startswith(prefix) and name[len(prefix) :] in part.source:
                return part, name[len(prefix) :]
        return None

    def original(self, name: str) -> Tensor | None:
        """The weight without patches, as a view; None where there is none."""
        found = self.find(name)
        return None if found is None else found[0].source[found[1]]

    def changed(self, name: str) -> bool:
        """Whether patches change this weight."""
        found = self.find(name)
        return found is not None and bool(found[0].deltas.get(found[1]))

    def value(self, name: str, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> Tensor:
        """A copy of the weight, patches applied. Raises KeyError."""
        found = self.find(name)
        if found is None:
            raise KeyError(name)
        part, own = found
        return materialise(part.source[own], part.deltas.get(own, ()), torch.device(device), dtype)


@dataclass(frozen=True)
class Mix:
    """w becomes keep · w + add · (a weight of another model)."""

    keep: float
    add: float
    name: str
    mark: str
    """Identity of the other model."""
    other: Weights = field(compare=False, repr=False)

    def __call__(self, w: Tensor) -> Tensor:
        return w.mul_(self.keep).add_(self.other.value(self.name, w.device), alpha=self.add)


@dataclass(frozen=True)
class Mixed:
    """Patches that merge a second model into a first."""

    patches: tuple[Patch, ...]
    unlike: tuple[str, ...]
    """Weights of the second that the first lacks or has in another shape; they are left as they are."""


def mixed(
    first: Weights, second: Weights, shares: Callable[[str], tuple[float, float]], skip: Callable[[str], bool] = lambda n: False
) -> Mixed:
    """`shares` gives (keep, add) by the name of a weight."""
    patches, unlike, mark = [], [], second.mark
    for name in second:
        if skip(name):
            continue
        ours, theirs = first.original(name), second.original(name)
        if ours is None or theirs is None or ours.shape != theirs.shape:
            unlike.append(name)
            continue
        keep, add = shares(name)
        if (keep, add) != (1.0, 0.0):
            patches.append(Patch(name, add, f"merge {keep} {mark}", Mix(keep, add, name, mark, second)))
    return Mixed(tuple(patches), tuple(unlike))


def by_prefix(ratios: Mapping[str, float]) -> Callable[[str], float]:
    """The ratio of the longest prefix that a name has; the first of all where it has none."""
    default = next(iter(ratios.values()))
    longest = sorted(ratios.items(), key=lambda item: -len(item[0]))
    return lambda name: next((ratio for prefix, ratio in longest if name.startswith(prefix)), default)

"""Recognise an architecture from a header alone: names and shapes, never values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from backend.base.errors import UnknownModel
from backend.weights.file import Header

MALFORMED = (KeyError, IndexError, ValueError, ZeroDivisionError)
"""What reading sizes off the shapes of a damaged file raises."""


def _always(_: Header) -> bool:
    return True


@dataclass(frozen=True)
class Signature:
    """Keys that must be there, keys that must not be, and a fact about shapes; all must hold."""

    has: tuple[str, ...]
    lacks: tuple[str, ...] = ()
    where: Callable[[Header], bool] = _always

    def matches(self, header: Header) -> bool:
        return all(key in header for key in self.has) and not any(key in header for key in self.lacks) and self.where(header)


class Recognisable(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def signature(self) -> Signature: ...


T = TypeVar("T", bound=Recognisable)


def recognise(header: Header, shelf: Iterable[T]) -> T:
    """The one entry of `shelf` whose signature matches. Raises UnknownModel when none does, and naming both when several do."""
    found = [spec for spec in shelf if spec.signature.matches(header)]
    if not found:
        text = f"No known model has these {len(header)} tensors ({sample_of(header)})."
        raise UnknownModel(text, hint="Check that this is the right kind of file.")
    if len(found) > 1:
        names = " and ".join(spec.name for spec in found)
        raise UnknownModel(f"The file could be {names}; its tensors do not tell.", hint="Please report this file's name and origin.")
    return found[0]


def sample_of(header: Iterable[str], count: int = 3) -> str:
    """A few tensor names for a message."""
    names = sorted(header)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "") if names else "none"


def count(header: Iterable[str], prefix: str) -> int:
    """How many numbered children `prefix.N.` has: one more than the highest number."""
    start = len(prefix) + 1
    numbers = (key[start:].split(".", 1)[0] for key in header if key.startswith(prefix + "."))
    return 1 + max((int(n) for n in numbers if n.isdecimal()), default=-1)

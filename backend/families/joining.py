"""Which text encoders the models of a family read, and how they are heard together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.reading import Reading
from backend.encoders.text import SingleEncoder, TextEncoder


@dataclass(frozen=True)
class Joiner:
    """A family's way with text encoders; several families may share one."""

    title: str
    """The models, in words."""
    reads: str
    """Which encoders they take, in words."""
    types: tuple[str, ...]
    """The words for it in the loaders' `type`; families that read different encoders may share a word."""
    join: Callable[[Sequence[SingleEncoder]], TextEncoder | None]
    """The encoders as one value, or None where they are not its own."""
    usual: tuple[frozenset[str], ...] = ()
    """Sets of branches that mean these models where nobody says which."""


def by_branch(encoders: Sequence[SingleEncoder]) -> dict[str, SingleEncoder] | None:
    """The encoders by their branches; None where two are of one kind."""
    found = {encoder.branch: encoder for encoder in encoders}
    return found if len(found) == len(encoders) else None


def language_model(make: str, reading: Reading) -> Callable[[Sequence[SingleEncoder]], TextEncoder | None]:
    """For families that hear one language model of that make, by `reading`."""

    def join(encoders: Sequence[SingleEncoder]) -> TextEncoder | None:
        only = encoders[0] if len(encoders) == 1 else None
        return only.read_as(reading) if isinstance(only, LmHandle) and only.make.name == make else None

    return join

"""Which text encoders the models of a family read, and how they are heard together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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

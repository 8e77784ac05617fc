"""Hook points inside a denoising net. A net run without taps never touches this file.

Taps are named tuples of plain callables; a site adds what a callable may want to know about where it was called.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

Taps = Mapping[str, Any]
"""Hook name -> callables. `attn1_replace` and `attn2_replace` hold (place, callable) pairs or a mapping,
place = (block, number) or (block, number, index); every other name holds a sequence of callables."""


@dataclass(frozen=True)
class Site:
    """The taps of one run together with the facts of the current place (block, transformer_index, n_heads ...)."""

    taps: Taps
    facts: dict[str, Any]

    def at(self, **facts: Any) -> Site:
        return Site(self.taps, {**self.facts, **facts})

    def fold(self, name: str, value: Tensor, *args: Any) -> Tensor:
        """value = f(value, *args, facts) for each tap of this name."""
        for tap in self.taps.get(name, ()):
            value = tap(value, *args, self.facts)
        return value

    def fold_many(self, name: str, *values: Tensor) -> tuple[Tensor, ...]:
        """(values) = f(*values, facts) for each tap of this name."""
        for tap in self.taps.get(name, ()):
            values = tuple(tap(*values, self.facts))
        return values

    def around(self, name: str, call: Callable[..., Tensor], *args: Any) -> Tensor:
        """call(*args) through the taps f(call, *args, facts) of this name; the last one is outermost."""
        for tap in self.taps.get(name, ()):
            call = _around(tap, call, self.facts)
        return call(*args)

    def replacement(self, name: str) -> Callable[..., Tensor] | None:
        """The callable that stands in for the attention at this place; one for the exact transformer block wins over one for its parent."""
        places = self.taps.get(name)
        if not places:
            return None
        choices: dict[Any, Callable[..., Tensor]] = dict(places)
        block = tuple(self.facts["block"])
        return choices.get((*block, self.facts["block_index"])) or choices.get(block)


def _around(tap: Callable[..., Tensor], call: Callable[..., Tensor], facts: dict[str, Any]) -> Callable[..., Tensor]:
    return lambda *args: tap(call, *args, facts)

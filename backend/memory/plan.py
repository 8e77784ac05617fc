"""Decide who lives on the device. Pure: facts in, moves out; no torch, no clock, no device query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A net that has weights on the device now."""

    key: str
    nbytes: int
    last_used: int
    leased: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """A net that is about to run: bytes of each layer in order of construction, and bytes its activations need at their peak."""

    key: str
    layers: tuple[int, ...]
    working: int = 0


@dataclass(frozen=True, slots=True)
class Placement:
    """What to do: nets to drop, and which layers of the demand to keep resident (the rest are streamed)."""

    evict: tuple[str, ...]
    resident: tuple[bool, ...]


def place(demand: Demand, held: Sequence[Held], budget: int) -> Placement:
    """Evict the least recently used until the demand fits; what still does not fit is streamed through a window of two layers.

    Leased nets are never evicted. The sum of what stays and what becomes resident never exceeds `budget` unless what is leased
    alone does.
    """
    others = [h for h in held if h.key != demand.key]
    used = sum(h.nbytes for h in others)
    need = sum(demand.layers) + demand.working
    evict: list[str] = []
    for victim in sorted((h for h in others if not h.leased), key=lambda h: (h.last_used, h.key)):
        if used + need <= budget:
            break
        evict.append(victim.key)
        used -= victim.nbytes
    free = budget - used - demand.working
    if sum(demand.layers) <= free:
        return Placement(tuple(evict), (True,) * len(demand.layers))
    free -= 2 * max(demand.layers, default=0)
    resident = []
    for size in demand.layers:
        fits = size <= free
        resident.append(fits)
        if fits:
            free -= size
    return Placement(tuple(evict), tuple(resident))

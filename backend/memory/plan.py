"""Decide who lives on the device. Pure: facts in, moves out; no torch, no clock, no device query."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """A net that has weights on the device now."""

    key: str
    nbytes: int
    last_used: int
    leased: bool = False
    next_use: int | None = None
    """How many other models the rest of the graph uses before this one; None when it does not use it any more."""


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


def _expendable(held: Held) -> tuple[int, int, int, int, str]:
    """Sorts what can be missed first to the front."""
    if held.next_use is None:
        return (0, 0, held.last_used, -held.nbytes, held.key)
    return (1, -held.next_use, -held.nbytes, held.last_used, held.key)


def next_to_read(upcoming: Sequence[tuple[str, int]], held: Sequence[Held], working: int, budget: int) -> str | None:
    """Which of the models to come (key, bytes; the next first) is worth reading while the present one computes: the first that is not
    there, if it fits beside all that is held and `working` bytes of activations. Reading further ahead would only push out what comes
    before."""
    present = {h.key for h in held}
    used = sum(h.nbytes for h in held) + working
    for key, nbytes in upcoming:
        if key not in present:
            return key if used + nbytes <= budget else None
    return None


def place(demand: Demand, held: Sequence[Held], budget: int) -> Placement:
    """Evict what is needed last until the demand fits; what still does not fit is streamed through a window of `WINDOW` layers.

    Nets that the rest of the graph does not use go first, the longest unused before others; then those whose next use is farthest away
    (Belady 1966), the larger first among equals. Leased nets are never evicted. The sum of what stays and what becomes resident never
    exceeds `budget` unless what is leased alone does.
    """
    others = [h for h in held if h.key != demand.key]
    used = sum(h.nbytes for h in others)
    need = sum(demand.layers) + demand.working
    evict: list[str] = []
    for victim in sorted((h for h in others if not h.leased), key=_expendable):
        if used + need <= budget:
            break
        evict.append(victim.key)
        used -= victim.nbytes
    free = budget - used - demand.working
    if sum(demand.layers) <= free:
        return Placement(tuple(evict), (True,) * len(demand.layers))
    return Placement(tuple(evict), _spread(demand.layers, free - WINDOW * max(demand.layers, default=0)))


def fastest(needs: Sequence[int], forms: Iterable[Sequence[int]], room: int) -> int:
    """Which of several ways to use a net, the fastest first, by the bytes of activations each `needs`. `forms` are the bytes of each weight
    in the forms they can be kept in, the best first.

    The first way with which every weight stays, be it in the worst form: bringing weights at each use costs more than a slower way. Where
    none lets them all stay, the first that leaves the window they come through, since a slower way brings them more often; else the last.
    """
    window = 0
    for sizes in forms:
        for i, need in enumerate(needs):
            if sum(sizes) + need <= room:
                return i
        window = WINDOW * max(sizes, default=0)
    return next((i for i, need in enumerate(needs) if window + need <= room), len(needs) - 1)


WINDOW = 2
"""Layers of the largest size that are on the device at once while streaming: one is used, the next is brought."""


def _spread(layers: tuple[int, ...], free: int) -> tuple[bool, ...]:
    """Which layers to keep in `free` bytes. The small ones, since bringing them costs more than it saves; of the others every second,
    third, ... as the bytes allow, so that each that is brought has others computing before it."""
    resident = [False] * len(layers)
    small = max(layers, default=0) // _SMALL
    for i, size in enumerate(layers):
        if size <= min(small, free):
            resident[i] = True
            free -= size
    rest = [i for i, stays in enumerate(resident) if not stays]
    share, due = free / max(1, sum(layers[i] for i in rest)), 0.0
    for i in rest:
        due += share * layers[i]
        if layers[i] <= min(due, free):
            resident[i] = True
            due -= layers[i]
            free -= layers[i]
    for i in rest:  # what was too large when its turn came leaves room
        if not resident[i] and layers[i] <= free:
            resident[i] = True
            free -= layers[i]
    return tuple(resident)


_SMALL = 64

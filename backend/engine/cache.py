"""Results kept between runs, by signature. Four policies; the executor does not know which one it has."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

from backend.base.config import Settings
from backend.engine.sizes import nbytes


class Result:
    """What a node gave: a list of values per output slot, what it showed (None: nothing), and the seconds it took."""

    __slots__ = ("outputs", "seconds", "shown")

    def __init__(self, outputs: list[list[Any]], shown: Mapping[str, Any] | None = None, seconds: float = 0.0) -> None:
        self.outputs = outputs
        self.shown = shown
        self.seconds = seconds


class OutputCache(Protocol):
    """`begin` opens a run whose document has these keys; `put` and `get` follow; `clear` forgets all.

    `frees`: results are worth dropping within a run as soon as their last consumer has run.
    """

    frees: bool

    def begin(self, keys: Mapping[bytes, Any]) -> None: ...
    def get(self, key: bytes) -> Result | None: ...
    def put(self, key: bytes, result: Result) -> None: ...
    def clear(self) -> None: ...
    def __len__(self) -> int: ...


class Classic:
    """Keeps the results of the current document. Results of expansions stay while runs use them.

    What is small and took long goes to `beside` with the document it was part of: the encoding of a text is a few hundred kilobytes, and
    going back to that text would need its encoder again, which is large.
    """

    frees = False

    def __init__(self, beside: Ram | None = None) -> None:
        self._beside = beside
        self._kept: dict[bytes, Result] = {}
        self._document: Mapping[bytes, Any] = {}
        self._used: set[bytes] = set()  # keys outside the document (of expansions) that the current run used

    def begin(self, keys: Mapping[bytes, Any]) -> None:
        if not self._kept.keys() <= keys.keys():
            kept: dict[bytes, Result] = {}
            gone: dict[bytes, Result] = {}
            for key, result in self._kept.items():
                (kept if key in keys or key in self._used else gone)[key] = result
            self._kept = kept
            if self._beside is not None:
                for key, result in gone.items():
                    if result.seconds >= _DEAR and not result.shown and _SOMETHING <= nbytes(result.outputs) <= _SMALL:
                        self._beside.put(key, result)
        self._document = keys
        self._used = set()

    def get(self, key: bytes) -> Result | None:
        found = self._kept.get(key)
        if found is None and self._beside is not None:
            found = self._beside.get(key)
            if found is not None:
                self._kept[key] = found
        if found is not None and key not in self._document:
            self._used.add(key)
        return found

    def put(self, key: bytes, result: Result) -> None:
        self._kept[key] = result
        if key not in self._document:
            self._used.add(key)

    def clear(self) -> None:
        self._kept = {}
        self._used = set()
        if self._beside is not None:
            self._beside.clear()

    def __len__(self) -> int:
        return len(self._kept)


_DEAR = 0.02  # seconds a result took, from which on it is worth a little memory
_SMALL = 4 << 20  # bytes of one result
_SOMETHING = 1 << 10  # bytes; a result with less is a handle on something large, or quick
_BESIDE = 64 << 20  # bytes of all of them


class Lru:
    """Keeps results across documents. Above `limit` those of the runs that are longest ago go, at the start of a run."""

    frees = False

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[bytes, Result] = OrderedDict()
        self._run: dict[bytes, int] = {}
        self._number = 0

    def begin(self, keys: Mapping[bytes, Any]) -> None:
        self._number += 1
        for key in keys:
            if key in self._kept:
                self._touch(key)
        while len(self._kept) > self._limit:
            oldest = next(iter(self._kept))
            if self._run[oldest] == self._number:
                break
            del self._kept[oldest], self._run[oldest]

    def _touch(self, key: bytes) -> None:
        self._kept.move_to_end(key)
        self._run[key] = self._number

    def get(self, key: bytes) -> Result | None:
        found = self._kept.get(key)
        if found is not None:
            self._touch(key)
        return found

    def put(self, key: bytes, result: Result) -> None:
        self._kept[key] = result
        self._touch(key)

    def clear(self) -> None:
        self._kept.clear()
        self._run.clear()

    def __len__(self) -> int:
        return len(self._kept)


class Nothing:
    """Keeps nothing: every run runs everything, and results go as soon as their last consumer has run."""

    frees = True

    def begin(self, keys: Mapping[bytes, Any]) -> None:
        pass

    def get(self, key: bytes) -> Result | None:
        return None

    def put(self, key: bytes, result: Result) -> None:
        pass

    def clear(self) -> None:
        pass

    def __len__(self) -> int:
        return 0


class Ram:
    """Keeps results while they fit into `budget` bytes; first to go are those that are cheap to compute again for their size.

    GreedyDual-Size (Cao and Irani 1997): priority = clock + seconds / bytes; the clock rises to the priority of what was evicted, so that
    old results lose to new ones in time.
    """

    frees = True

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: dict[bytes, tuple[Result, int, float]] = {}  # result, bytes, priority
        self._heap: list[tuple[float, bytes]] = []
        self._clock = 0.0
        self.held = 0

    def begin(self, keys: Mapping[bytes, Any]) -> None:
        pass

    def get(self, key: bytes) -> Result | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._enter(key, found[0], found[1])
        return found[0]

    def _enter(self, key: bytes, result: Result, size: int) -> None:
        priority = self._clock + result.seconds / size
        self._kept[key] = (result, size, priority)
        heapq.heappush(self._heap, (priority, key))
        if len(self._heap) > 4 * len(self._kept) + 64:
            self._heap = [(p, k) for k, (_, _, p) in self._kept.items()]
            heapq.heapify(self._heap)

    def put(self, key: bytes, result: Result) -> None:
        self._drop(key)
        size = max(nbytes(result.outputs), 1)
        if size > self._budget:
            return
        self.held += size
        self._enter(key, result, size)
        while self.held > self._budget:
            priority, victim = heapq.heappop(self._heap)
            entry = self._kept.get(victim)
            if entry is not None and entry[2] == priority:
                self._clock = priority
                self._drop(victim)

    def _drop(self, key: bytes) -> None:
        entry = self._kept.pop(key, None)
        if entry is not None:
            self.held -= entry[1]

    def clear(self) -> None:
        self._kept.clear()
        self._heap.clear()
        self.held = 0

    def __len__(self) -> int:
        return len(self._kept)


def of(settings: Settings) -> OutputCache:
    """The cache that the settings ask for."""
    if settings.cache == "lru":
        return Lru(settings.cache_lru)
    if settings.cache == "none":
        return Nothing()
    if settings.cache == "ram":
        return Ram(settings.cache_ram)
    return Classic(Ram(_BESIDE))

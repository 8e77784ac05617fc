"""Which node may run next. A pure state machine: no clocks, no threads, no node is called."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable


class Cycle(Exception):
    """Nodes wait for each other: each of `nodes` for the next, the last for the first."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        super().__init__(f"these nodes wait for each other: {', '.join(nodes[:20])}")
        self.nodes = nodes


class Schedule:
    """Wanted nodes and what they wait for.

    `sources(id)` lists the nodes a node needs before it runs; `is_output(id)` and `is_urgent(id)` say what the order prefers; `is_done(id)`
    says that a result exists already, so that the node need not run.

    Order: a ready output or urgent (asynchronous) node first, else one that feeds an output, else one that feeds such a node, else the one
    wanted first. Wanting is depth first, the last source explored first. All operations together are O((nodes + links) log nodes).
    """

    def __init__(
        self,
        sources: Callable[[str], Iterable[str]],
        is_output: Callable[[str], bool] = lambda id: False,
        is_urgent: Callable[[str], bool] = lambda id: False,
        is_done: Callable[[str], bool] = lambda id: False,
    ) -> None:
        self._sources = sources
        self._is_output = is_output
        self._is_urgent = is_urgent
        self._is_done = is_done
        self._rank: dict[str, int] = {}  # every wanted, unfinished node -> its place in the order of wanting
        self._order: list[str] = []
        self._waits: dict[str, dict[str, None]] = {}  # node -> unfinished sources
        self._feeds: dict[str, dict[str, None]] = {}  # node -> unfinished nodes that wait for it
        self._distance: dict[str, int] = {}  # hops to the nearest output, if at most 2
        self._ready: list[tuple[int, int]] = []  # heap of (preference, rank)
        self._running: set[str] = set()

    def want(self, id: str) -> list[str]:
        """Ask for a node and all it needs. A node that is done is still handed out, alone. Returns the nodes that are new."""
        added: list[str] = []
        links: list[tuple[str, str]] = []
        stack = [id]
        rank = self._rank
        while stack:
            n = stack.pop()
            if n in rank:
                continue
            self._enter(n)
            added.append(n)
            if n == id and self._is_done(n):
                continue
            for source in self._sources(n):
                if source in rank or not self._is_done(source):
                    links.append((source, n))
                    if source not in rank:
                        stack.append(source)
        for source, n in links:
            self._link(source, n)
        for n in added:
            if not self._waits[n]:
                self._push(n)
        return added

    def _enter(self, id: str) -> None:
        self._rank[id] = len(self._order)
        self._order.append(id)
        self._waits[id] = {}
        self._feeds[id] = {}
        if self._is_output(id) or self._is_urgent(id):
            self._distance[id] = 0

    def _link(self, source: str, id: str) -> None:
        self._waits[id][source] = None
        self._feeds[source][id] = None
        if self._is_output(id):
            self._come_closer(source, 1)
        elif self._distance.get(id, 3) == 1:
            self._come_closer(source, 2)

    def _come_closer(self, id: str, distance: int) -> None:
        """A node turned out to be this near to an output; so its sources are one hop further at most."""
        if self._distance.get(id, 3) <= distance:
            return
        self._distance[id] = distance
        if not self._waits[id] and id not in self._running:
            self._push(id)
        if distance == 1:
            for source in self._waits[id]:
                self._come_closer(source, 2)

    def _push(self, id: str) -> None:
        heapq.heappush(self._ready, (self._distance.get(id, 3), self._rank[id]))

    def next(self) -> str | None:
        """The node to run now; None when all is done, or when only running nodes can make others ready. Raises Cycle."""
        while self._ready:
            _, rank = heapq.heappop(self._ready)
            id = self._order[rank]
            # An entry is stale when the node finished, started, waits again, or was entered anew.
            if self._rank.get(id) == rank and id not in self._running and not self._waits[id]:
                self._running.add(id)
                return id
        if self._rank and not self._running:
            raise Cycle(self._cycle())
        return None

    def _cycle(self) -> tuple[str, ...]:
        """Nodes that wait for each other. When nothing is ready every node waits for one that waits, so walking on must come around."""
        path: dict[str, None] = {}
        id = next(iter(self._rank))
        while id not in path:
            path[id] = None
            id = next(iter(self._waits[id]))
        names = list(path)
        return tuple(names[names.index(id) :])

    def waiting(self) -> list[str]:
        """The nodes that are still to be handed out, in about the order in which they will be: what was wanted last is needed first."""
        rank = self._rank
        return [id for i, id in reversed(list(enumerate(self._order))) if rank.get(id) == i and id not in self._running]

    @property
    def running(self) -> int:
        """How many nodes were handed out and are neither finished nor deferred."""
        return len(self._running)

    def finish(self, id: str) -> None:
        """A running node has its result."""
        self._running.remove(id)
        del self._rank[id], self._waits[id]
        self._distance.pop(id, None)
        for n in self._feeds.pop(id):
            waits = self._waits.get(n)
            if waits is not None:
                waits.pop(id, None)
                if not waits and n not in self._running:
                    self._push(n)

    def defer(self, id: str, needs: Iterable[str]) -> list[str]:
        """A running node needs more before it can go on: it is handed out again once these are done. Returns the nodes that are new."""
        self._running.remove(id)
        added: list[str] = []
        for need in needs:
            if need in self._rank or not self._is_done(need):
                if need not in self._rank:
                    added += self.want(need)
                self._link(need, id)
        if not self._waits[id]:
            self._push(id)
        return added

    def expand(self, id: str, outputs: Iterable[str], needs: Iterable[str]) -> list[str]:
        """A running node turned into a graph: `outputs` of that graph run for their own sake, the node waits for `needs`."""
        added: list[str] = []
        for output in outputs:
            added += self.want(output)
        return added + self.defer(id, needs)

"""The node types that exist, as a value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from backend.graph.schema import NodeType


class Registry(Mapping[str, NodeType]):
    """Node types by id. Adding types makes a new registry."""

    __slots__ = ("_types",)

    def __init__(self, types: Iterable[NodeType] = ()) -> None:
        self._types: dict[str, NodeType] = {}
        for t in types:
            if t.id in self._types:
                raise ValueError(f"two node types are named {t.id!r}: in {self._types[t.id].module} and in {t.module}")
            self._types[t.id] = t

    def __getitem__(self, id: str) -> NodeType:
        return self._types[id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)

    def get(self, id: str, default: NodeType | None = None) -> NodeType | None:  # type: ignore[override]
        return self._types.get(id, default)

    def with_types(self, types: Iterable[NodeType], *, replace: bool = True) -> Registry:
        """A registry that has these too. `replace` False: a type that is already here stays."""
        made = Registry()
        made._types = dict(self._types)
        for t in types:
            if replace or t.id not in made._types:
                made._types[t.id] = t
        return made

    def refreshed(self, ids: Iterable[str]) -> Registry:
        """A registry in which those of `ids` whose inputs may have changed since are described anew; one that fails stays as it is."""
        fresh: list[NodeType] = []
        for t in (self._types.get(id) for id in ids):
            if t is not None and t.refresh is not None:
                try:
                    fresh.append(t.refresh())
                except (Exception, SystemExit):  # noqa: BLE001, S112 - foreign code; the last good description stands
                    continue
        return self.with_types(fresh) if fresh else self

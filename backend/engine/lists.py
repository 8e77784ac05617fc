"""Every wire carries a list of values. A node is called once per index; results are gathered into lists again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from backend.base.errors import BadInput
from backend.engine.context import Blocker, Expand, Ui
from backend.graph.schema import NodeType

Lists = Mapping[str, Sequence[Any]]


def calls(lists: Lists, whole: bool) -> list[dict[str, Any]]:
    """The keyword arguments of each call. `whole`: one call that gets the lists themselves.

    Otherwise one call per index of the longest list, shorter ones repeating their last value; one call when there are no inputs.
    Raises BadInput when a list to be mapped is empty.
    """
    if whole:
        return [{k: list(v) for k, v in lists.items()}]
    longest = 1
    for name, values in lists.items():
        count = len(values)
        if count != 1:
            if not count:
                raise BadInput(f"Input `{name}` received an empty list, so there is nothing to run on.", input=name)
            longest = max(longest, count)
    if longest == 1:
        return [{k: v[0] for k, v in lists.items()}]
    return [{k: v[min(i, len(v) - 1)] for k, v in lists.items()} for i in range(longest)]


def blocker(lists: Lists, index: int, whole: bool) -> Blocker | None:
    """The blocker among the arguments of call `index`, if there is one."""
    for values in lists.values():
        for value in values if whole else (values[min(index, len(values) - 1)],) if values else ():
            if value.__class__ is Blocker or isinstance(value, Blocker):
                return value
    return None


class Returned:
    """What one call gave: outputs by slot, and what it wants shown or expanded."""

    __slots__ = ("expand", "outputs", "shown")

    def __init__(self, outputs: Sequence[Any], shown: Mapping[str, Any] | None = None, expand: Expand | None = None) -> None:
        self.outputs = outputs
        self.shown = shown
        self.expand = expand


def read(value: Any, t: NodeType) -> Returned:
    """What a call returned, in one form. Raises BadInput when it is not what the type promises."""
    kind = value.__class__
    if kind is Ui:
        return Returned(value.outputs, value.shown)
    if kind is Expand:
        return Returned(value.outputs, value.shown, value)
    count = len(t.outputs)
    if kind is Blocker or isinstance(value, Blocker):
        return Returned((value,) * count)
    if not t.many:
        return Returned((value,))
    if isinstance(value, (tuple, list)):
        return Returned(value)
    if value is None and not count:
        return Returned(())
    raise BadInput(
        f"{t.id} returned {type(value).__name__} where its {count} outputs belong.",
        hint="This is a fault of the node: it must return a tuple.",
    )


def gather(returned: Sequence[Sequence[Any]], t: NodeType) -> list[list[Any]]:
    """Outputs of all calls as one list per slot: list outputs are joined, others collected."""
    if not returned:
        return []
    slots = max(len(r) for r in returned)
    is_list = [o.is_list for o in t.outputs]
    outputs: list[list[Any]] = []
    for i in range(slots):
        joined: list[Any] = []
        for values in returned:
            if i >= len(values):
                joined.append(None)
            elif i < len(is_list) and is_list[i] and not isinstance(values[i], Blocker):
                joined.extend(values[i])
            else:
                joined.append(values[i])
        outputs.append(joined)
    return outputs


def join_shown(parts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """What several calls show, joined key by key; values are taken apart as iterables (a text falls into its characters).

    Raises BadInput for what is no mapping of lists.
    """
    joined: dict[str, list[Any]] = {}
    for part in parts:
        if not isinstance(part, Mapping):
            raise BadInput(f"The node shows {type(part).__name__} where a dict of lists belongs.", hint="This is a fault of the node.")
        for key, items in part.items():
            if not isinstance(items, Iterable):
                said = f"The node shows {type(items).__name__} as {key!r}, where a list belongs."
                raise BadInput(said, hint="This is a fault of the node.")
            joined.setdefault(key, []).extend(items)
    return joined

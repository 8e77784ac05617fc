"""Loops: what lies between Start Loop and End Loop runs again and again.

Published files connect Start Loop's outputs to the nodes of the body, the body's result to `output_value` of End Loop, and what the next
iteration begins with to `next_iteration_value`. Ends of the body whose values nobody needs go to `terminations`. The first iteration is
the body as it stands in the graph; End Loop turns into a copy of it for each further one, so that every iteration is shown, cached and
cancelled as nodes are. A loop within a loop connects the outer one's index to its `parent_iteration`, by which it is part of that body.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from backend.base.errors import BadInput
from backend.engine.context import Context, Expand
from backend.graph.declare import Bool, Wired, node
from backend.graph.document import Link
from nodes.logic import growing
from nodes.resize_any import ways
from nodes.types import Anything, BoolOut, IntOut

loop_node = partial(node, category="utils/logic", form="v3")
START, END = "StartLoop", "EndLoop"
MOST = 1000
MODES: dict[str, dict[str, Any]] = {
    "simple": {"num_iterations": ["INT", {"default": 4, "min": 1, "max": MOST, "step": 1}]},
    "list": {"list": ["*", {}]},
}
INDEX, FIRST, LAST, ITEM, VALUE = range(5)
"""Outputs of Start Loop."""
STATE = "loop."
"""Inputs of End Loop that only its copies have: where the loop is, and what it gathered."""


class Iteration(NamedTuple):
    iteration_index: IntOut
    is_first: BoolOut
    is_last: BoolOut
    list_item: Anything
    current_iteration_value: Anything


@loop_node(START, title="Start Loop")
def start_loop(
    ctx: Context,
    *,
    parent_iteration: IntOut | None = None,
    initial_iteration_value: Anything = Wired(optional=True),
    mode: str = ways(MODES, "simple"),
    cache_iterations: bool = Bool(
        False, optional=True, tooltip="Iterations are kept as the results of other nodes are, whatever this says."
    ),
    **options: Any,
) -> Iteration:
    """Begin a loop that runs a number of times, or once for each item of a list or picture of a batch."""
    items = _items(ctx, mode, options.get(f"mode.{_name(mode)}"))
    return Iteration(0, True, len(items) == 1, items[0], initial_iteration_value)


@loop_node(END, title="End Loop", input_is_list=True, outputs=("outputs",))
def end_loop(
    ctx: Context,
    *,
    output_value: Anything = Wired(optional=True),
    next_iteration_value: Anything = Wired(optional=True),
    terminations: None = growing("*", prefix="termination", least=0),
    accumulate: list[bool] = Bool(True, optional=True, tooltip="Give the values of all iterations; else that of the last."),
    **state: Any,
) -> list[Anything]:
    """End a loop: give the values of its iterations as a list."""
    if f"{STATE}end" not in state:
        return _begun(ctx)  # type: ignore[return-value]
    (end,), (start,), (mode,), (index,), (before,) = (state[STATE + name] for name in ("end", "start", "mode", "index", "gathered"))
    found = tuple(output_value or ())
    gathered = before.values + found if _kept(accumulate) else found
    given = state[f"{STATE}items"]
    items = _items(ctx, mode, given[0] if mode == "simple" or len(given) == 1 else list(given))
    if index + 1 >= len(items):
        return list(gathered)
    copy = _Copy(ctx, end, start, index + 1, items)
    later = {STATE + "index": index + 1, STATE + "gathered": Gathered(gathered)}
    later |= {STATE + name: state[STATE + name][0] for name in ("end", "start", "mode")} | {f"{STATE}items": copy.kept(f"{STATE}items")}
    return copy.expand(later)  # type: ignore[return-value]


def _kept(accumulate: Any) -> bool:
    """A list, as values come to this node, or the default alone."""
    return bool(accumulate[0]) if isinstance(accumulate, list | tuple) else bool(accumulate)


class Gathered(NamedTuple):
    """Values of the iterations so far; no list, which could be taken for a link."""

    values: tuple[Any, ...] = ()


def _name(mode: str) -> str:
    return next(iter(MODES.get(mode, {})), "")


def _items(ctx: Context, mode: str, given: Any) -> list[Any]:
    """What each iteration is about."""
    if mode == "simple":
        number = given if given is not None else MODES[mode]["num_iterations"][1]["default"]
        if not isinstance(number, int) or not 1 <= number <= MOST:
            hint = f"A loop runs 1 to {MOST} times."
            raise BadInput(f"`num_iterations` is {number!r:.60}.", hint=hint, node=ctx.node, input="mode.num_iterations")
        return [None] * number
    if mode != "list":
        raise BadInput(f"`mode` is {mode!r:.40}.", hint=f"Choose one of {', '.join(MODES)}.", node=ctx.node, input="mode")
    try:
        found = list(given.split(1)) if hasattr(given, "split") and hasattr(given, "shape") else list(given)
    except TypeError:
        found = [] if given is None else [given]
    if not 1 <= len(found) <= MOST:
        text = f"The list of the loop has {len(found)} items."
        raise BadInput(text, hint=f"Connect one with 1 to {MOST}.", node=ctx.node, input="mode.list")
    return found


def _begun(ctx: Context) -> Expand:
    """End Loop of a graph as its first copy, which knows where the loop starts and how often it runs."""
    nodes = ctx.graph.nodes
    start = _start(ctx, nodes)
    mode = nodes[start].inputs.get("mode", "simple")
    if not isinstance(mode, str):
        raise BadInput("The mode of a loop is chosen in Start Loop and cannot be wired.", node=start, input="mode")
    items = nodes[start].inputs.get(f"mode.{_name(mode)}")
    state = {"end": ctx.node, "start": start, "mode": mode, "index": 0, "gathered": Gathered(), "items": items}
    inputs = {**nodes[ctx.node].inputs, **{STATE + name: value for name, value in state.items()}}
    id = f"{ctx.node}.loop"
    return Expand({id: {"class_type": END, "inputs": inputs}}, (Link(id, 0),))


def _start(ctx: Context, nodes: Mapping[str, Any]) -> str:
    """The Start Loop of this End Loop: of those before it that are no other loop's, the innermost."""
    before = set(_ancestors(nodes, ctx.node))
    ends = [id for id in before if nodes[id].type == END]
    taken = {id for end in ends for id in _ancestors(nodes, end) if nodes[id].type == START and not _depends(nodes, id, end, before)}
    found = [id for id in before if nodes[id].type == START]
    free = [id for id in found if id not in taken] or found
    inner = [id for id in free if not any(id in set(_ancestors(nodes, other)) for other in free if other != id)]
    if len(inner) != 1:
        text = "Nothing before this End Loop comes from a Start Loop." if not inner else "Two loops begin before this End Loop."
        hint = "Connect a loop's outputs to what it repeats; a loop within another takes the outer one's index as `parent_iteration`."
        raise BadInput(text, hint=hint, node=ctx.node)
    return inner[0]


def _depends(nodes: Mapping[str, Any], start: str, end: str, before: set[str]) -> bool:
    """Whether this Start Loop surrounds the loop that ends at `end`: an inner one depends on it."""
    inside = [id for id in _ancestors(nodes, end) if nodes[id].type == START and id != start]
    return any(start in set(_ancestors(nodes, id)) for id in inside)


def _ancestors(nodes: Mapping[str, Any], id: str) -> Iterator[str]:
    """Every node that a node reads, directly or not."""
    seen, stack = {id}, [id]
    while stack:
        for value in nodes[stack.pop()].inputs.values():
            if isinstance(value, Link) and value.node not in seen and value.node in nodes:
                seen.add(value.node)
                stack.append(value.node)
                yield value.node


class _Copy:
    """The body of a loop once more."""

    def __init__(self, ctx: Context, end: str, start: str, index: int, items: list[Any]) -> None:
        self.ctx, self.nodes, self.end, self.start = ctx, ctx.graph.nodes, end, start
        self.index, self.items = index, items
        before = [id for id in _ancestors(self.nodes, end) if id != start]
        self.body = [id for id in before if start in set(_ancestors(self.nodes, id))]
        self.ids = {id: f"{ctx.node}.{index}.{id}" for id in self.body}

    def kept(self, name: str) -> Any:
        """An input of the End Loop that runs now, as it is wired."""
        return self.nodes[self.ctx.node].inputs.get(name)

    def expand(self, state: Mapping[str, Any]) -> Expand:
        made: dict[str, Any] = {}
        for old, new in self.ids.items():
            inputs = {name: self._moved(value) for name, value in self.nodes[old].inputs.items()}
            made[new] = {"class_type": self.nodes[old].type, "inputs": inputs, "override_display_id": self.ctx.graph.display(old)}
        inputs = {name: self._moved(value) for name, value in self.nodes[self.end].inputs.items()} | dict(state)
        id = f"{self.ctx.node}.{self.index}"
        made[id] = {"class_type": END, "inputs": inputs, "override_display_id": self.ctx.graph.display(self.end)}
        return Expand(made, (Link(id, 0),))

    def _moved(self, value: Any) -> Any:
        """An input of the body, reading what this iteration has."""
        if not isinstance(value, Link):
            return value
        if value.node != self.start:
            return Link(self.ids[value.node], value.slot) if value.node in self.ids else value
        if value.slot == VALUE:  # as the iteration before left it: a link, so that lists stay lists
            return self.nodes[self.ctx.node].inputs.get("next_iteration_value", value)
        return {INDEX: self.index, FIRST: False, LAST: self.index + 1 == len(self.items), ITEM: self.items[self.index]}[value.slot]

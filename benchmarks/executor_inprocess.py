"""What a graph costs besides its nodes: parse, validate, sign, schedule and run trivial nodes, in CPU milliseconds per node.

`python -m benchmarks.executor_inprocess`. Chains, wide graphs and binary trees of 10 to 10,000 nodes, first cold, then with everything
cached. CPU time of this process, the best of several passes, so that other programs do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any

from backend.base.events import Event
from backend.engine.context import Context
from backend.engine.executor import Executor, Job
from backend.graph.declare import Wired, declared, node
from backend.graph.document import Prompt
from backend.graph.registry import Registry
from backend.graph.schema import Socket
from backend.graph.validate import validate
from benchmarks.table import Row, report

COLD, CACHED = 0.05, 0.008  # goals, milliseconds per node
SIZES = (10, 100, 1000, 10_000)
Value = Annotated[int, Socket("VALUE")]
Document = dict[str, Any]


@node("Sum", category="benchmark")
def add(ctx: Context, *, a: Value = Wired(optional=True), b: Value = Wired(optional=True)) -> Value:  # noqa: B008
    """Adds what is wired in."""
    return (a or 0) + (b or 0) + 1


@node("End", category="benchmark", output=True)
def end(ctx: Context, *, a: Value = Wired()) -> None:  # noqa: B008
    """Takes a value."""


def _node(kind: str, salt: int, **inputs: Any) -> Document:
    return {"class_type": kind, "inputs": {**inputs, "salt": salt}}


def chain(count: int, salt: int) -> Document:
    """Each node reads the one before."""
    made = {str(i): _node("Sum", salt, **({"a": [str(i - 1), 0]} if i else {})) for i in range(count - 1)}
    return made | {"end": _node("End", salt, a=[str(count - 2), 0])}


def wide(count: int, salt: int) -> Document:
    """Pairs of a source and an output."""
    made: Document = {}
    for i in range(count // 2):
        made[f"s{i}"] = _node("Sum", salt + i)
        made[f"e{i}"] = _node("End", salt, a=[f"s{i}", 0])
    return made


def tree(count: int, salt: int) -> Document:
    """A binary tree that comes together in one output. Leaves differ, so that nothing is shared."""
    inner = (count - 1) // 2
    made: Document = {}
    for i in range(count - 1):
        left, right = 2 * i + 1, 2 * i + 2
        below = {"a": [str(left), 0], "b": [str(right), 0]} if i < inner and right < count - 1 else {}
        made[str(i)] = _node("Sum", salt + i, **below)
    return made | {"end": _node("End", salt, a=["0", 0])}


def _drop(event: Event) -> None:
    """The receiver of events is another process's business."""


def measure(make: Callable[[int, int], Document], count: int) -> tuple[float, float]:
    """CPU milliseconds per node, cold and cached."""
    registry = Registry(declared(globals()))
    executor = Executor(registry, _drop)
    best = [float("inf"), float("inf")]
    for turn in range(3 if count >= 1000 else 20):
        document = make(count, turn * 1_000_000)
        for k in (0, 1):
            began = time.process_time()
            checked = validate(Prompt.parse(document), registry)
            outcome = executor.run(Job("job", checked.prompt, checked.targets))
            best[k] = min(best[k], time.process_time() - began)
            assert outcome.status == "success" and bool(outcome.cached) == bool(k)
    return best[0] / len(document) * 1000, best[1] / len(document) * 1000


def main() -> None:
    rows = []
    for name, make in (("chain", chain), ("wide", wide), ("tree", tree)):
        for count in SIZES:
            cold, cached = measure(make, count)
            rows.append(Row(f"Executor in process, {name} of {count:,}, cold", f"{cold:.4f} ms/node", f"≤ {COLD} ms"))
            rows.append(Row(f"Executor in process, {name} of {count:,}, cached", f"{cached:.4f} ms/node", f"≤ {CACHED} ms"))
    report(rows)


if __name__ == "__main__":
    main()

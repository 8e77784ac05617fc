"""Runs jobs one after the other and keeps what outlives them: results, node objects, and what the last run knew."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from backend.base import events as ev
from backend.base.errors import Interrupted, Problem
from backend.base.jsonable import dumps, plain
from backend.engine.cache import Classic, OutputCache
from backend.engine.finite import Checker
from backend.engine.job import Instances, Job, Trace, now
from backend.engine.lost import LOST_HINT, is_device_lost, lost_sentence
from backend.engine.oom import OOM_HINT, is_out_of_memory, memory_sentence
from backend.engine.persist import Persistent
from backend.engine.run import Run
from backend.engine.schedule import Cycle
from backend.graph.registry import Registry

__all__ = ["Executor", "Job", "Outcome"]

_MOST = 100  # values of one input that an error report names


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: `status` "success" | "error" | "interrupted", the error if there was one, and how many nodes ran or were cached."""

    status: str
    error: ev.RunFailed | None = None
    seconds: float = 0.0
    executed: int = 0
    cached: int = 0

    def to_json(self) -> dict[str, Any]:
        error = None if self.error is None else {"exception": self.error.exception, "message": self.error.message, "node": self.error.node}
        return {"status": self.status, "error": error, "seconds": self.seconds, "executed": self.executed, "cached": self.cached}


def class_name(kind: type[BaseException]) -> str:
    """The qualified name of an exception class; builtins bare."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _brief(value: Any) -> Any:
    """A value in a form fit to print; what would fill pages is cut."""
    made = plain(value)
    if isinstance(made, (list, dict)) and len(text := dumps(made)) > 10_000:
        return text[:1000] + "…"
    return made


class Executor:
    """`run(job, cancelled)` never raises; it emits events and says how it ended.

    `around()` gives a context in which each run takes place (no gradients). When a node runs out of memory, `tighten()` is called and the
    node called once more; when that fails too, `on_out_of_memory()`. `on_device_lost()` is called when nothing can be computed any more.
    """

    def __init__(
        self,
        registry: Registry,
        emit: ev.Emit,
        *,
        cache: OutputCache | None = None,
        services: Any = None,
        around: Callable[[], AbstractContextManager[Any]] = nullcontext,
        on_out_of_memory: Callable[[], None] = lambda: None,
        on_device_lost: Callable[[], None] = lambda: None,
        tighten: Callable[[], str] | None = None,
        checker: Checker | None = None,
        persistent: Persistent | None = None,
    ) -> None:
        self.registry = registry
        self.emit = emit
        self.cache: OutputCache = cache if cache is not None else Classic()
        self.services = services
        self._around = around
        self._on_out_of_memory, self._on_device_lost = on_out_of_memory, on_device_lost
        self._tighten = tighten
        self._checker = checker
        self._persistent = persistent
        self._run: Run | None = None
        self._instances = Instances()
        self._trace = Trace()

    def ahead(self) -> Iterator[Any]:
        """Values that the nodes still to run will read, the next first, as far as they are known. Empty between runs."""
        return iter(()) if self._run is None else self._run.ahead()

    def forget(self) -> None:
        """Drop all kept results and node objects."""
        self.cache.clear()
        self._instances = Instances()

    def run(self, job: Job, cancelled: Callable[[], bool] = lambda: False) -> Outcome:
        """Run a job that was validated."""
        began = time.perf_counter()
        self.emit(ev.RunStarted(now()))
        self._instances.begin(job.prompt)
        registry = self.registry.refreshed({n.type for n in job.prompt.nodes.values()})
        outlive = (self.services, self._instances, self._trace, self._tighten, self._checker, self._persistent)
        run = Run(job, registry, self.cache, self.emit, cancelled, *outlive)
        self._run = run
        status, failure = "success", None
        try:
            with self._around():
                run.prepare()
                run.work()
            self.emit(ev.RunSucceeded(now()))
        except Interrupted:
            status = "interrupted"
            node = self._node(run)
            self.emit(ev.RunInterrupted(node, self._type(run, node), tuple(run.executed), now()))
        except BaseException as error:  # noqa: BLE001 - node code may raise anything, exits and interrupts too; it is reported
            status, failure = "error", self._failure(run, error)
            self.emit(failure)
            if is_out_of_memory(error):
                error.__traceback__ = None  # its frames hold the tensors that did not fit
                self._on_out_of_memory()
            elif is_device_lost(error):
                self._on_device_lost()
        finally:
            run.loop.close()
            self._run = None
        if run.digests:
            self._trace = Trace(job.prompt.nodes, run.digests, run.prints, run.signed, run.personal)
        return Outcome(status, failure, time.perf_counter() - began, len(run.executed), run.cached)

    def _node(self, run: Run) -> str:
        """The node of the document that was running (the first target when none was yet)."""
        current = run.current if run.current is not None else next(iter(run.job.targets), "")
        return run.graph.real(current)

    def _type(self, run: Run, node: str) -> str:
        known = run.graph.nodes.get(node)
        return known.type if known is not None else ""

    def _failure(self, run: Run, error: BaseException) -> ev.RunFailed:
        node = self._node(run)
        message, hint = str(error), ""
        if isinstance(error, Problem):
            message, hint = error.at(node=node).message, error.hint
            name = error.where.input
            if name and name not in message:
                message = f"Input `{name}`: {message}"
        elif isinstance(error, Cycle):
            node = run.graph.real(error.nodes[0])
            message, hint = f"The graph has a loop: {error}.", "Remove one of the links between them."
        elif is_out_of_memory(error):
            message, hint = memory_sentence(error), OOM_HINT
        elif is_device_lost(error):
            message, hint = lost_sentence(error), LOST_HINT
        return ev.RunFailed(
            node=node,
            node_type=self._type(run, node),
            exception=class_name(type(error)),
            message=message,
            hint=hint,
            # a Problem explains itself; where in the code it was raised tells a person nothing
            traceback=() if isinstance(error, Problem) else tuple(traceback.format_tb(error.__traceback__)),
            inputs={name: [_brief(v) for v in values[:_MOST]] for name, values in run.given.items()},
            executed=tuple(run.executed),
            outputs=tuple(run.job.prompt.nodes),
            time=now(),
        )

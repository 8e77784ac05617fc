"""What takes part in a sampling beside the net: control nets, and taps with weights of their own.

A companion is a value that conditioning or a model carries: `bind(model, pool)` is a context manager that leases what the companion
needs and gives what runs in its place, for the length of one sampling. Two samplings at once thus never share state.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from backend.diffusion.conditioning import Entry
from backend.diffusion.handle import ModelHandle
from backend.memory.pool import Pool


@runtime_checkable
class Companion(Protocol):
    """Something that needs to be bound before it can run."""

    def bind(self, model: ModelHandle, pool: Pool) -> AbstractContextManager[Any]:
        """What runs in its place: an object with `get_control(x, sigmas, inputs, members, told)` for a control, a callable for a tap."""
        ...


@dataclass(frozen=True)
class Companions:
    """The bound companions of one sampling."""

    taps: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """The model's own, for the net."""
    running: Mapping[int, Any] = field(default_factory=dict)
    """What runs in place of a control or a grounding, by its identity."""

    def control(self, entry: Entry) -> Any:
        return self.running.get(id(entry.control), entry.control)

    def taps_for(self, entry: Entry, sigma: float) -> Mapping[str, Sequence[Any]]:
        """The model's taps and, called first, those of the entry: of its grounding, and of a control that works inside the net."""
        own: dict[str, Sequence[Any]] = dict(self.running.get(id(entry.grounding), {}))
        inside = getattr(self.control(entry), "taps", None)
        for name, taps in inside(sigma).items() if inside is not None else ():
            own[name] = (*own.get(name, ()), *taps)
        return {**self.taps, **{name: (*taps, *self.taps.get(name, ())) for name, taps in own.items()}} if own else self.taps


@contextmanager
def together(model: ModelHandle, roles: Mapping[str, Sequence[Entry]], pool: Pool) -> Iterator[Companions]:
    """Bind everything that takes part. Controls of the node-pack world are told by `pre_run` and `cleanup`."""
    with ExitStack() as stack:

        def bound(thing: Any) -> Any:
            return stack.enter_context(thing.bind(model, pool)) if isinstance(thing, Companion) else thing

        taps = {name: tuple(_placed(tap, bound) for tap in taps) for name, taps in model.net_taps().items()}
        running: dict[int, Any] = {}
        for entry in (entry for entries in roles.values() for entry in entries):
            control, grounding = entry.control, entry.grounding
            if control is not None and id(control) not in running:
                running[id(control)] = bound(control)
                if not isinstance(control, Companion):
                    stack.callback(control.cleanup)
                    control.pre_run(model, model.noise.percent_to_sigma)
            if grounding is not None and id(grounding) not in running:
                running[id(grounding)] = bound(grounding[1].placed(grounding[2]))
        yield Companions(taps, running)


def _placed(tap: Any, bound: Any) -> Any:
    """A tap, or the (place, tap) pair of a replacement."""
    return (tap[0], bound(tap[1])) if isinstance(tap, tuple) and len(tap) == 2 else bound(tap)

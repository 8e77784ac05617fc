"""What foreign code needs while a sampling runs: how to ask the net, and which conditioning is which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from backend.diffusion.handle import ModelHandle


@dataclass
class Running:
    """One prediction under way. `ask` is the engine's question, `conds` the conditioning by role."""

    ask: Any
    model: ModelHandle
    conds: dict[str, Any] = field(default_factory=dict)
    uncond: Any = None
    """The last unconditional answer."""


RUNNING: ContextVar[Running | None] = ContextVar("sampling", default=None)


@contextmanager
def running(ask: Any, model: ModelHandle, conds: Any) -> Iterator[Running]:
    """Foreign code called inside finds this with `RUNNING`. Questions asked by it are the outer ones where there are any."""
    made = Running(ask, model, dict(conds))
    token = RUNNING.set(made)
    try:
        yield made
    finally:
        RUNNING.reset(token)


class RoleConds(list):
    """The conditioning of one role in the form foreign code reads; `role` says which one it is."""

    def __init__(self, role: str, conditioning: Any) -> None:
        from comfy.sampler_helpers import convert_cond

        super().__init__(convert_cond(conditioning))
        self.role = role


def role_conds(conds: Any, role: str) -> Any:
    """The conditioning of a role, or None where the guider has none."""
    return RoleConds(role, conds[role]) if role in conds else None

"""What travels on a CONTROL_NET wire and inside conditioning: a source of residuals, a picture, and how strongly and when it steers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from backend.control.residuals import Residuals, merged, scaled
from backend.diffusion.handle import ModelHandle
from backend.memory.pool import Loadable, Pool

UNCOND = 1
"""The role of the negative among the roles of a run."""


class Runner(Protocol):
    """A net bound to one picture for one sampling; may keep what does not change from step to step."""

    def __call__(self, x: Tensor, sigma: Tensor, inputs: Mapping[str, Any], members: int) -> Residuals:
        """Residuals for noisy latents x [N, C, H, W] at sigma [N]; `inputs` as the diffusion net gets them. N is `members` equal parts."""
        ...


class Source(Protocol):
    """A control net as a file holds it."""

    @property
    def title(self) -> str:
        """In words, with the family it is for."""
        ...

    def loadable(self, model: ModelHandle) -> Loadable:
        """What to lease. Raises BadInput for a model of another family, naming both sides."""
        ...

    def runner(self, net: nn.Module, model: ModelHandle, control: Control) -> Runner: ...


@dataclass(frozen=True, eq=False)
class Control:
    """A control net, and with a `hint` [B, C, H, W] (0..1) one that is applied. A value; every change makes another one."""

    source: Source
    hint: Tensor | None = None
    strength: float = 1.0
    start_percent: float = 0.0
    end_percent: float = 1.0
    previous: Any = None
    """Another control whose residuals are added."""
    guess: bool = False
    """Follow the picture without a prompt (Zhang et al. 2023, section 3.4): weak in shallow layers, nothing for the negative."""
    types: tuple[int, ...] = ()
    """For nets of several kinds of picture: which one this is."""

    def applied(self, hint: Tensor, strength: float, start_percent: float = 0.0, end_percent: float = 1.0) -> Self:
        """With a picture, images [B, H, W, C] in 0..1."""
        return replace(self, hint=hint.movedim(-1, 1), strength=strength, start_percent=start_percent, end_percent=end_percent)

    def after(self, previous: Any) -> Self:
        """Added to an earlier control."""
        return replace(self, previous=previous)

    @contextmanager
    def bind(self, model: ModelHandle, pool: Pool) -> Iterator[Running]:
        """Lease the net, and those of the controls before it, for one sampling."""
        if isinstance(self.previous, Control):
            with self.previous.bind(model, pool) as previous, self._leased(model, pool) as running:
                running.previous = previous
                yield running
        else:
            with self._leased(model, pool) as running:
                running.previous = self.previous
                yield running

    @contextmanager
    def _leased(self, model: ModelHandle, pool: Pool) -> Iterator[Running]:
        with pool.lease(self.source.loadable(model)) as net:
            yield Running(self, self.source.runner(net, model, self), model)


class Running:
    """A control for the length of one sampling; what the denoiser calls."""

    def __init__(self, control: Control, runner: Runner, model: ModelHandle) -> None:
        self.control, self.runner, self.previous = control, runner, None
        percent = model.noise.percent_to_sigma
        self.start, self.end = percent(control.start_percent), percent(control.end_percent)

    previous: Any

    def get_control(self, x: Tensor, sigmas: Tensor, inputs: Mapping[str, Any], members: int, told: Mapping[str, Any]) -> Residuals | None:
        """The residuals at this step, or None when neither this control nor an earlier one applies."""
        earlier = None if self.previous is None else self.previous.get_control(x, sigmas, inputs, members, told)
        sigma = float(sigmas[0])
        if not self.end <= sigma <= self.start or self.control.strength == 0:
            return earlier
        return merged(earlier, self._made(x, sigmas, inputs, members, told["cond_or_uncond"]))

    def taps(self, sigma: float) -> dict[str, tuple[Any, ...]]:
        """The taps of controls that work inside the net, at this step."""
        earlier = getattr(self.previous, "taps", None)
        found: dict[str, tuple[Any, ...]] = dict(earlier(sigma)) if earlier is not None else {}
        inside = getattr(self.runner, "taps", None)
        if inside is None or not self.end <= sigma <= self.start or self.control.strength == 0:
            return found
        return {**found, **{name: (*found.get(name, ()), *taps) for name, taps in inside().items()}}

    def _made(self, x: Tensor, sigmas: Tensor, inputs: Mapping[str, Any], members: int, roles: Sequence[int]) -> Residuals | None:
        control = self.control
        if not control.guess:
            return scaled(self.runner(x, sigmas, inputs, members), lambda i, n: control.strength)
        rows = [i for i, role in enumerate(roles) if role != UNCOND]
        if not rows:
            return None
        part = _Rows(rows, members)
        made = self.runner(part.of(x), part.of(sigmas), {k: part.of(v) for k, v in inputs.items()}, len(rows))
        depth = max(len(values) for values in made.values())
        return {p: [part.spread(r) for r in v] for p, v in scaled(made, lambda i, n: control.strength * _ramp(i, n, depth)).items()}


def _ramp(i: int, n: int, depth: int) -> float:
    """0.1 at the first residual to 1 at the one in the middle, evenly in the logarithm (guess mode of the published code)."""
    return 1.0 if n < depth else math.pow(10.0, i / depth - 1.0)


@dataclass(frozen=True)
class _Rows:
    """Some of the equal parts of a batch."""

    rows: list[int]
    members: int

    def of(self, x: Any) -> Any:
        if not isinstance(x, Tensor) or len(self.rows) == self.members:
            return x
        parts = x.chunk(self.members)
        return torch.cat([parts[i] for i in self.rows])

    def spread(self, r: Tensor | None) -> Tensor | None:
        """Zero in the parts that were left out."""
        if r is None or len(self.rows) == self.members:
            return r
        given = dict(zip(self.rows, r.chunk(len(self.rows)), strict=True))
        nothing = torch.zeros_like(next(iter(given.values())))
        return torch.cat([given.get(i, nothing) for i in range(self.members)])

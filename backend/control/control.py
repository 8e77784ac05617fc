"""What travels on a CONTROL_NET wire and inside conditioning: a source of residuals, a picture, and how strongly and when it steers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from backend.base.errors import BadInput
from backend.control.hints import fitted
from backend.control.residuals import Residuals, merged, scaled
from backend.diffusion.batching import repeated
from backend.diffusion.handle import ModelHandle
from backend.imaging.resize import resize
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
    vae: Any = None
    """Encodes the picture, for nets that see a latent of it."""
    keep: Tensor | None = None
    """[B, 1, H, W]: 0 where the picture has a hole, for nets that are told so."""
    pool: Pool | None = field(default=None, repr=False)
    """While the control is bound."""

    def applied(
        self,
        hint: Tensor,
        strength: float,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        vae: Any = None,
        keep: Tensor | None = None,
    ) -> Self:
        """With a picture, images [B, H, W, C] in 0..1."""
        hint = hint.movedim(-1, 1)
        return replace(self, hint=hint, strength=strength, start_percent=start_percent, end_percent=end_percent, vae=vae, keep=keep)

    def latent(self, model: ModelHandle, height: int, width: int, keep: bool = False) -> Tensor:
        """What nets see that look at latents of so many cells: the picture as `model` would see it, [B, channels, ..., height, width], and
        with `keep` one channel more, where it has no hole. Only while the control is bound.

        Raises BadInput where no VAE was given, or that of another model.
        """
        wanted = model.family.latent
        if self.vae is None:
            raise BadInput(
                f"{self.source.title} sees the control picture as a latent, and no VAE was given to encode it.",
                hint="Use the node Apply ControlNet and connect the model's VAE.",
                input="vae",
            )
        wanted.check_vae(self.vae.channels)
        assert self.hint is not None and self.pool is not None
        picture = fitted(self.hint, width * wanted.factor, height * wanted.factor, 3).movedim(1, -1)
        seen = wanted.process_in(torch.cat([self.vae.encode(one, self.pool) for one in torch.split(picture, 1)]))
        if not keep:
            return seen
        whole = torch.ones(1, 1, height, width) if self.keep is None else resize(self.keep, width, height, "nearest-exact", "center")
        whole = whole.to(seen).reshape(len(whole), 1, *[1] * (seen.ndim - 4), height, width).expand(-1, 1, *seen.shape[2:])
        return torch.cat([seen, repeated(whole, len(seen))], dim=1)

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
            bound = replace(self, pool=pool)
            yield Running(bound, self.source.runner(net, model, bound), model)


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

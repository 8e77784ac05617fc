"""What every solver shares: its inputs, its report of a step, and the arithmetic of ancestral steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from backend.diffusion.path import Path
from backend.diffusion.randomness import NoiseSource

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x [B, ...], sigma [B] on the CPU) -> x0 [B, ...]; all that a solver knows of a model."""


@runtime_checkable
class Guided(Protocol):
    """A denoiser that can also say what it would have answered without the prompt; CFG++ solvers ask it."""

    def __call__(self, x: Tensor, sigma: Tensor) -> Tensor: ...

    def pair(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(guided x0, unconditional x0)."""
        ...


@dataclass(frozen=True, slots=True)
class Step:
    """A step as it is reported, before the solver moves: `denoised` is the model's answer to `x` at `sigma_hat`."""

    i: int
    sigma: float
    sigma_hat: float
    x: Tensor
    denoised: Tensor


OnStep = Callable[[Step], None]
Sampler = Callable[..., Tensor]
"""(model, x, sigmas [n+1], *, noise: NoiseSource, on_step: OnStep, path: Path, **options) -> x at the last sigma."""


def quiet(step: Step) -> None:
    """Nobody is watching."""


def at(model: Denoise, x: Tensor, sigma: float) -> Tensor:
    """Ask the model about x when the whole batch is at one sigma. The sigma stays on the host: nothing waits for the device."""
    return model(x, torch.full((x.shape[0],), sigma))


def pair_at(model: Denoise, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """(x0, unconditional x0). A model that has only one answer gives it twice, and CFG++ becomes its plain solver."""
    if isinstance(model, Guided):
        return model.pair(x, torch.full((x.shape[0],), sigma))
    denoised = at(model, x, sigma)
    return denoised, denoised


def ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up): step down to the first, then add noise of the second; down^2 + up^2 = sigma_next^2.

    A step towards more noise is left as it is: it has none to renew."""
    if not eta:
        return sigma_next, 0.0
    up = min(sigma_next, eta * sigma_next * root(1 - (sigma_next / sigma) ** 2))
    return root(sigma_next**2 - up**2), up


def root(value: float) -> float:
    """The square root of a variance, which rounding or a schedule that ascends can make negative; then 0."""
    return math.sqrt(max(0.0, value))


def renoise(path: Path, sigma: float, sigma_next: float, eta: float) -> tuple[float, float, float]:
    """(sigma_down, scale, up): step to sigma_down, then x = scale x + up noise has the statistics of sigma_next.

    On a variance exploding path this is `ancestral` and scale is 1. On a flow, scale restores alpha and
    up^2 = sigma_next^2 - (scale sigma_down)^2.
    """
    if not path.flow:
        down, up = ancestral(sigma, sigma_next, eta)
        return down, 1.0, up
    down = sigma_next * (1 + (sigma_next / sigma - 1) * eta)
    scale = (1 - sigma_next) / (1 - down)
    return down, scale, root(sigma_next**2 - (scale * down) ** 2)


class Churn:
    """Noise put back before each step of `steps` (Karras et al. 2022, algorithm 2). Draws nothing at `s_churn` 0."""

    def __init__(self, noise: NoiseSource, x: Tensor, steps: int, s_churn: float, s_tmin: float, s_tmax: float, s_noise: float) -> None:
        self._gamma = min(s_churn / max(steps, 1), math.sqrt(2) - 1) if s_churn > 0 else 0.0
        self._draw = noise.gaussian(x) if s_churn > 0 else None
        self._low, self._high, self._s_noise = s_tmin, s_tmax, s_noise

    def __call__(self, x: Tensor, sigma: float) -> tuple[Tensor, float]:
        """(x, sigma) raised, where sigma lies in the range that is churned; else as they are."""
        if self._draw is None or not self._low <= sigma <= self._high:
            return x, sigma
        raised = sigma * (1 + self._gamma)
        if raised > sigma:
            x = x + self._draw(sigma, raised) * (self._s_noise * math.sqrt(raised**2 - sigma**2))
        return x, raised


def span(sigmas: list[float]) -> tuple[float, float]:
    """(smallest positive sigma, largest sigma): the interval a Brownian path must cover."""
    return min(s for s in sigmas if s > 0), max(sigmas)

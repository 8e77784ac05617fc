"""Stochastic explicit exponential derivative-free solvers, two and three stages (Gonzalez et al. 2023, SEEDS)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseAt, NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet, root


class _Noise:
    """The noise of one step at each of its stages: one Ornstein-Uhlenbeck path over lambda, so that stages agree with each other."""

    def __init__(self, draw: NoiseAt, eta: float) -> None:
        self.draw, self.eta = draw, eta
        self.value: Tensor | float = 0.0

    def advance(self, s: float, s_next: float, h: float) -> Tensor | float:
        """Unit-free noise after h more of lambda; multiply by sigma."""
        if self.eta > 0:
            self.value = self.value * math.exp(-h * self.eta) + self.draw(s, s_next) * root(-math.expm1(-2 * h * self.eta))
        return self.value


def _base(path: Path, x: Tensor, x0: Tensor, s: float, s_to: float, h: float, eta: float) -> Tensor:
    """The exponential Euler step of length h in lambda from s to s_to, without noise."""
    return x * (s_to / s * math.exp(-h * eta)) - x0 * (path.alpha(s_to) * math.expm1(-h * (eta + 1)))


def seeds_2(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5,
) -> Tensor:  # fmt: skip
    """Two stages, the first at the fraction `r` of the step in lambda."""
    return _seeds(model, x, sigmas, noise, on_step, path, eta, s_noise, (r,))


def seeds_3(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0, r_1: float = 1 / 3, r_2: float = 2 / 3,
) -> Tensor:  # fmt: skip
    """Three stages, at the fractions `r_1` and `r_2`."""
    return _seeds(model, x, sigmas, noise, on_step, path, eta, s_noise, (r_1, r_2))


def _seeds(
    model: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseSource, on_step: OnStep, path: Path, eta: float, s_noise: float,
    stages: Sequence[float],
) -> Tensor:  # fmt: skip
    draw = noise.gaussian(x)
    grid = path.usable(sigmas.tolist())
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        lam, h = path.log_snr(s), path.log_snr(s_next) - path.log_snr(s)
        walk = _Noise(draw, eta if s_noise > 0 else 0.0)
        estimate, before, s_before = x0, 0.0, s
        for n, r in enumerate((*stages, 1.0)):
            s_to = s_next if r == 1.0 else path.sigma(lam + r * h)
            z = r * h * (eta + 1)
            moved = _base(path, x, x0, s, s_to, r * h, eta)
            if n:
                # two stages: their mean slope; three: the paper's phi_2, measured from the stage before
                share = -math.expm1(-z) / (2 * before) if len(stages) == 1 else r / before * (math.expm1(-z) / z + 1)
                moved = moved + (estimate - x0) * (path.alpha(s_to) * share)
            kick = walk.advance(s_before, s_to, (r - before) * h)
            if not isinstance(kick, float):
                moved = moved + kick * (s_to * s_noise)
            if r == 1.0:
                x = moved
            else:
                estimate, before, s_before = at(model, moved, s_to), r, s_to
    return x

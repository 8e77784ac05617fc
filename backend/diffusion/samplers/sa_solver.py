"""Stochastic Adams solver (Xue et al. 2023, SA-Solver): predictor and corrector of the variance-controlled SDE, in log(alpha / sigma)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet, root

Tau = Callable[[float], float]


def tau_between(start: float, end: float, eta: float = 1.0) -> Tau:
    """tau = eta for sigmas from `start` down to `end`, and 0 (an ODE) outside."""
    return lambda sigma: eta if end <= sigma <= start else 0.0


def _default_tau(path: Path, grid: Sequence[float], eta: float) -> Tau:
    """Noise from 20% to 80% of the sampling, by the model's clock or else by the steps."""
    if path.percent is not None:
        return tau_between(path.percent(0.2), path.percent(0.8), eta)
    last = len(grid) - 1
    return tau_between(grid[math.floor(0.2 * last)], grid[math.floor(0.8 * last)], eta)


def adams_weights(alpha: float, knots: Sequence[float], start: float, end: float, tau: float) -> list[float]:
    """Weights b of estimates at lambda `knots`, exact for polynomials: alpha(end) times the integral over [start, end] of
    (1 + tau^2) e^(-(1 + tau^2)(end - l)) L_j(l) dl (paper, eq. 14 and 17 divided out for data prediction)."""
    m, h = 1 + tau**2, end - start
    order = len(knots)
    # moments of (l - end)^k against the weight, by parts
    moments = [-math.expm1(-m * h)]
    for k in range(1, order):
        moments.append(-((-h) ** k) * math.exp(-m * h) - k / m * moments[-1])
    matrix = np.vander(np.asarray(knots, dtype=np.float64) - end, order, increasing=True).T
    return [alpha * float(b) for b in np.linalg.solve(matrix, np.asarray(moments))]


def simple_weights(alpha: float, knots: Sequence[float], start: float, end: float, tau: float, corrector: bool) -> list[float]:
    """The paper's simplified second order weights (appendix D), older estimate first."""
    m, h = 1 + tau**2, end - start
    whole = -alpha * math.expm1(-h * m)
    if corrector:
        newer = alpha * 0.5 * m * h
        return [whole - newer, newer]
    older = alpha * 0.5 * m * h**2 / (knots[0] - start)
    return [older, whole - older]


def sa_solver(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    tau: Tau | None = None, eta: float = 1.0, s_noise: float = 1.0, predictor_order: int = 3, corrector_order: int = 4,
    use_pece: bool = False, simple_order_2: bool = False,
) -> Tensor:  # fmt: skip
    """One evaluation a step, or two with `use_pece` (evaluate again after correcting). `tau(sigma)` sets how much noise."""
    if len(sigmas) <= 1:
        return x
    grid = path.usable(sigmas.tolist())
    lam = [path.log_snr(s) for s in grid]
    tau = tau or _default_tau(path, grid, eta)
    draw = noise.gaussian(x)
    keep = max(predictor_order, corrector_order)
    estimates: list[Tensor] = []
    predicted, kick, h, t = x, x * 0, 0.0, 0.0
    ends_at_zero, last = grid[-1] == 0, len(grid) - 1

    def adams(order: int, i: int, start: float, to: int, corrector: bool) -> Tensor:
        knots, alpha = lam[i - order + 1 : i + 1], path.alpha(grid[to])
        if simple_order_2 and order == 2:
            weights = simple_weights(alpha, knots, start, lam[to], t, corrector)
        else:
            weights = adams_weights(alpha, knots, start, lam[to], t)
        return sum((e * w for e, w in zip(estimates[-order:], weights, strict=True)), start=x * 0)

    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, predicted, s)
        on_step(Step(i, s, s, predicted, x0))
        estimates = [*estimates, x0][-keep:]
        known = len(estimates)
        predict = min(predictor_order, known)
        correct = 0 if i == 0 or (s_next == 0 and not use_pece) else min(corrector_order, known)
        if ends_at_zero:  # fall to low order towards the end, where steps of lambda grow without bound
            predict, correct = min(predict, last - 1 - i), min(correct, last - i)
        if correct == 0:
            x = predicted
        else:
            x = x * (s / grid[i - 1] * math.exp(-(t**2) * h)) + adams(correct, i, lam[i - 1], i, True)
            if t > 0 and s_noise > 0:
                x = x + kick
            if use_pece:
                x0 = at(model, x, s)
                estimates[-1] = x0
        if s_next == 0:
            return x0
        t, h = tau(s_next), lam[i + 1] - lam[i]
        predicted = x * (s_next / s * math.exp(-(t**2) * h)) + adams(predict, i, lam[i], i + 1, False)
        if t > 0 and s_noise > 0:
            kick = draw(s, s_next) * (s_next * root(-math.expm1(-2 * t**2 * h)) * s_noise)
            predicted = predicted + kick
        else:
            kick = x * 0
    return predicted


sa_solver_pece = partial(sa_solver, use_pece=True)

"""Linear multistep solvers: the slope (x - x0) / sigma is extrapolated from the last steps and integrated (Adams-Bashforth).

They differ in the variable in which the slope is taken to be a polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet

Weights = Callable[[list[float], int, int], Sequence[float]]
"""(sigmas, step i, order) -> weights w with x += sum_j w[j] d[i - j]."""

_NODES, _QUADRATURE = np.polynomial.legendre.leggauss(64)


def multistep(
    model: Denoise, x: Tensor, sigmas: Tensor, on_step: OnStep, order: int, weights: Weights, final_denoise: bool = True
) -> Tensor:
    """Steps of growing order up to `order`; one evaluation each. With `final_denoise` a step to zero answers x0."""
    grid = sigmas.tolist()
    slopes: list[Tensor] = []
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0 and final_denoise:
            x = x0
            continue
        slopes = [(x - x0) / s, *slopes[: order - 1]]
        w = weights(grid, i, len(slopes))
        x = x + sum(slope * float(c) for slope, c in zip(slopes, w, strict=True))
    return x


def lagrange_weights(t: Callable[[float], float], sigma: Callable[[float], float], slope: Callable[[float], float]) -> Weights:
    """Weights that are exact for slopes polynomial in t(sigma): w_j = integral of L_j(t) dsigma, by Gauss-Legendre in t.

    `sigma` inverts `t`, `slope` is dsigma/dt at t.
    """

    def weights(grid: list[float], i: int, order: int) -> Sequence[float]:
        knots = [t(grid[i - k]) for k in range(order)]
        a, b = knots[0], t(grid[i + 1])
        points = (a + b) / 2 + (b - a) / 2 * _NODES
        measure = _QUADRATURE * (b - a) / 2 * np.array([slope(p) for p in points])
        out = []
        for j in range(order):
            basis = np.ones_like(points)
            for k in range(order):
                if k != j:
                    basis *= (points - knots[k]) / (knots[j] - knots[k])
            out.append(float((basis * measure).sum()))
        return out

    return weights


def _in_sigma() -> Weights:
    return lagrange_weights(lambda s: s, lambda t: t, lambda t: 1.0)


def lms(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    order: int = 4, final_denoise: bool = True,
) -> Tensor:  # fmt: skip
    """Slopes polynomial in sigma. `final_denoise` False extrapolates to zero too, as k-diffusion does."""
    return multistep(model, x, sigmas, on_step, order, _in_sigma(), final_denoise)


_EQUAL = ((1.0,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))


def _as_if_equal(grid: list[float], i: int, order: int) -> Sequence[float]:
    """Adams-Bashforth for equal steps, whatever the steps are."""
    return [c * (grid[i + 1] - grid[i]) for c in _EQUAL[order - 1]]


def ipndm(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    max_order: int = 4,
) -> Tensor:  # fmt: skip
    """Improved pseudo numerical method (Zhang & Chen 2022, iPNDM): the equal-step weights, with lower orders to warm up."""
    return multistep(model, x, sigmas, on_step, max_order, _as_if_equal)


def ipndm_v(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    max_order: int = 4,
) -> Tensor:  # fmt: skip
    """iPNDM with the weights of the steps as they are: Adams-Bashforth in sigma."""
    return multistep(model, x, sigmas, on_step, max_order, _in_sigma())


def vp_clock(eps_s: float = 1e-3, sigma_min: float = 0.002, sigma_max: float = 80.0) -> tuple[float, float]:
    """(beta_d, beta_min) of the variance preserving clock that runs from eps_s at sigma_min to 1 at sigma_max."""
    low, high = math.log(sigma_min**2 + 1), math.log(sigma_max**2 + 1)
    beta_d = 2 * (low / eps_s - high) / (eps_s - 1)
    return beta_d, high - beta_d / 2


def _in_vp_time(first: float, last: float) -> Weights:
    """Slopes polynomial in the time of a VP process: sigma(t) = sqrt(exp(beta_d t^2 / 2 + beta_min t) - 1)."""
    beta_d, beta_min = vp_clock(sigma_min=last, sigma_max=first)

    def t(sigma: float) -> float:
        return (math.sqrt(beta_min**2 + 2 * beta_d * math.log(sigma**2 + 1)) - beta_min) / beta_d

    def sigma(t: float) -> float:
        return math.sqrt(math.expm1(beta_d * t * t / 2 + beta_min * t))

    def slope(t: float) -> float:
        s = sigma(t)
        return (s * s + 1) * (beta_d * t + beta_min) / (2 * s)

    return lagrange_weights(t, sigma, slope)


def _in_log_sigma() -> Weights:
    return lagrange_weights(math.log, math.exp, math.exp)


def deis(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    max_order: int = 3, clock: str = "vp",
) -> Tensor:  # fmt: skip
    """Diffusion exponential integrator (Zhang & Chen 2022, tAB-DEIS): slopes polynomial in the time of a VP process ("vp"),
    or in log sigma (`clock` "log", rhoAB-DEIS)."""
    weights = _in_log_sigma() if clock == "log" else _in_vp_time(80.0, 0.002)
    return multistep(model, x, sigmas, on_step, max_order, weights)


def pndm(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """Pseudo linear multistep, PLMS (Liu et al. 2022, eq. 12; as latent diffusion first shipped with): the transfer step of DDIM with the
    equal-step weights of four slopes, started by one pseudo improved Euler step (two evaluations)."""
    grid = sigmas.tolist()
    noises: list[Tensor] = []
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        eps = (x - x0) / s
        if not noises and s_next > 0:
            probe = x + eps * (s_next - s)
            used = (eps + (probe - at(model, probe, s_next)) / s_next) / 2
        else:
            w = _EQUAL[min(len(noises), 3)]
            used = sum((e * c for e, c in zip([eps, *noises], w, strict=False)), start=eps * 0)
        x = x + used * (s_next - s)
        noises = [eps, *noises[:2]]
    return x

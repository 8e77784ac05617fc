"""Stochastic DPM-Solver++ (Lu et al. 2022, section 5.2), driven by a Brownian path: single step, and two and three steps back.

Written in lambda = log(alpha / sigma), so that they hold on flow paths too. With eta, x keeps e^(-eta h) of its noise over a step h of
lambda; the rest is drawn anew.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, ancestral, at, quiet, root, span


def _between(path: Path, sigma: float, sigma_next: float, r: float) -> float:
    """The sigma the fraction r of the way in lambda. In fp32 on a variance exploding path: the Brownian path is asked about it, and
    another rounding is other noise."""
    if path.flow:
        return path.sigma(path.log_snr(sigma) + r * (path.log_snr(sigma_next) - path.log_snr(sigma)))
    a, b = torch.tensor(sigma).log().neg(), torch.tensor(sigma_next).log().neg()
    return float((a + r * (b - a)).neg().exp())


def _leap(path: Path, x: Tensor, x0: Tensor, sigma: float, sigma_next: float, eta: float) -> tuple[Tensor, float]:
    """An ancestral first order step from sigma to sigma_next; (x without the new noise, the deviation of that noise)."""
    a, a_next = path.alpha(sigma), path.alpha(sigma_next)
    down, up = ancestral(sigma / a, sigma_next / a_next, eta)
    ratio = down / (sigma / a)
    return x * (a_next / a * ratio) + x0 * (a_next * (1 - ratio)), a_next * up


def dpmpp_sde(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0, r: float = 0.5, cpu: bool = True,
) -> Tensor:  # fmt: skip
    """Two evaluations a step: one at the fraction `r`, then the whole. `cpu`: where the noise is computed."""
    if len(sigmas) <= 1:
        return x
    draw = noise.brownian(x, *span(sigmas.tolist()), cpu)
    grid = path.usable(sigmas.tolist())
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        s_mid = _between(path, s, s_next, r)
        noisy = eta > 0 and s_noise > 0
        x_mid, up = _leap(path, x, x0, s, s_mid, eta)
        if noisy:
            x_mid = x_mid + draw(s, s_mid) * (s_noise * up)
        x0_mid = at(model, x_mid, s_mid)
        x, up = _leap(path, x, torch.lerp(x0, x0_mid, 1 / (2 * r)), s, s_next, eta)
        if noisy:
            x = x + draw(s, s_next) * (s_noise * up)
    return x


SOLVER_TYPES = ("midpoint", "heun")


def dpmpp_2m_sde(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0, solver_type: str = "midpoint", cpu: bool = True,
) -> Tensor:  # fmt: skip
    """Second order multistep, one evaluation a step. `solver_type`: "midpoint" or "heun"."""
    if solver_type not in SOLVER_TYPES:
        raise BadInput(f"There is no solver type {solver_type!r}.", hint=f"Choose one of {', '.join(SOLVER_TYPES)}.", input="solver_type")
    return _multistep_sde(model, x, sigmas, noise, on_step, path, eta, s_noise, cpu, 2 if solver_type == "heun" else 0)


def dpmpp_3m_sde(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0, cpu: bool = True,
) -> Tensor:  # fmt: skip
    """Third order multistep, one evaluation a step."""
    return _multistep_sde(model, x, sigmas, noise, on_step, path, eta, s_noise, cpu, 3)


def _multistep_sde(
    model: Denoise, x: Tensor, sigmas: Tensor, noise: NoiseSource, on_step: OnStep, path: Path, eta: float, s_noise: float, cpu: bool,
    kind: int,
) -> Tensor:  # fmt: skip
    """`kind`: 0 midpoint, 2 second order by phi functions, 3 third order by phi functions."""
    if len(sigmas) <= 1:
        return x
    draw = noise.brownian(x, *span(sigmas.tolist()), cpu)
    grid = path.usable(sigmas.tolist())
    past: list[tuple[Tensor, float]] = []  # (x0, h of the step taken from it), newest first
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        h = path.log_snr(s_next) - path.log_snr(s)
        z = h * (eta + 1)
        target = x0 * -math.expm1(-z) + _higher(x0, past, h, z, kind)
        x = x * (s_next / s * math.exp(-h * eta)) + target * path.alpha(s_next)
        if eta > 0 and s_noise > 0:
            x = x + draw(s, s_next) * (s_next * root(-math.expm1(-2 * h * eta)) * s_noise)
        past = [(x0, h), *past[:1]]
    return x


def _higher(x0: Tensor, past: list[tuple[Tensor, float]], h: float, z: float, kind: int) -> Tensor | float:
    """The terms beyond the first: differences of x0 in units of h, times phi functions of z = (1 + eta) h."""
    if not past:
        return 0.0
    slope = (x0 - past[0][0]) * (h / past[0][1])
    phi_2 = math.expm1(-z) / z + 1
    if kind == 0:
        return slope * (-math.expm1(-z) / 2)
    if kind == 2 or len(past) < 2:
        return slope * phi_2
    r0, r1 = past[0][1] / h, past[1][1] / h
    older = (past[0][0] - past[1][0]) / r1
    curve = (slope - older) / (r0 + r1)
    return (slope + curve * r0) * phi_2 - curve * (phi_2 / z - 0.5)


dpmpp_sde_gpu = partial(dpmpp_sde, cpu=False)
dpmpp_2m_sde_gpu = partial(dpmpp_2m_sde, cpu=False)
dpmpp_2m_sde_heun = partial(dpmpp_2m_sde, solver_type="heun")
dpmpp_2m_sde_heun_gpu = partial(dpmpp_2m_sde, solver_type="heun", cpu=False)
dpmpp_3m_sde_gpu = partial(dpmpp_3m_sde, cpu=False)

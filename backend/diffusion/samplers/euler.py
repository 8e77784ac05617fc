"""Euler steps: plain, ancestral, and both with CFG++ guidance."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Churn, Denoise, OnStep, Step, ancestral, at, pair_at, quiet, renoise


def euler(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """One evaluation a step (Karras et al. 2022, algorithm 2 without the correction)."""
    grid = sigmas.tolist()
    churn = Churn(noise, x, len(grid) - 1, s_churn, s_tmin, s_tmax, s_noise)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x, s_hat = churn(x, s)
        x0 = at(model, x, s_hat)
        on_step(Step(i, s, s_hat, x, x0))
        x = x0 if s_next == 0 else x + (x - x0) * ((s_next - s_hat) / s_hat)
    return x


def euler_ancestral(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Euler steps that go too low by `eta` and noise back up."""
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        down, scale, up = renoise(path, s, s_next, eta)
        x = x0 + (x - x0) * (down / s)
        if eta > 0:
            x = x * scale + draw(s, s_next) * (s_noise * up)
    return x


def euler_ancestral_cfg_pp(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """DDIM that renoises with the unconditional noise (Chung et al. 2024, CFG++), with `eta` of fresh noise."""
    grid, draw = path.usable(sigmas.tolist()), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        a, a_next = path.alpha(s), path.alpha(s_next)
        down, up = ancestral(s / a, s_next / a_next, eta)
        x = x0 * a_next + (x - uncond * a) * (a_next * down / s)
        if eta > 0 and s_noise > 0:
            x = x + draw(s, s_next) * (a_next * s_noise * up)
    return x


def euler_cfg_pp(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """`euler_ancestral_cfg_pp` without noise: deterministic."""
    return euler_ancestral_cfg_pp(model, x, sigmas, noise=noise, on_step=on_step, path=path, eta=0.0, s_noise=0.0)


def euler_cfg_pp_alternative(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """An earlier form of CFG++ Euler: the slope points from the unconditional residual to the guided estimate."""
    grid = sigmas.tolist()
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        x = x + (x - x0 + uncond - x0) * ((s_next - s) / s)
    return x

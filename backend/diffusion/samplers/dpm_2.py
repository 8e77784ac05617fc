"""DPM-Solver-2 in the manner of Karras et al. 2022: a midpoint in log sigma."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Churn, Denoise, OnStep, Step, at, quiet, renoise


def _midpoint(model: Denoise, x: Tensor, x0: Tensor, sigma: float, down: float) -> Tensor:
    """From sigma to `down` along the slope at their geometric mean."""
    middle = math.sqrt(sigma * down)
    x_mid = x + (x - x0) * ((middle - sigma) / sigma)
    return x + (x_mid - at(model, x_mid, middle)) * ((down - sigma) / middle)


def dpm_2(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Second order, two evaluations a step."""
    grid = sigmas.tolist()
    churn = Churn(noise, x, len(grid) - 1, s_churn, s_tmin, s_tmax, s_noise)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x, s_hat = churn(x, s)
        x0 = at(model, x, s_hat)
        on_step(Step(i, s, s_hat, x, x0))
        x = x0 if s_next == 0 else _midpoint(model, x, x0, s_hat, s_next)
    return x


def dpm_2_ancestral(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """`dpm_2` that goes too low by `eta` and noises back up."""
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        down, scale, up = renoise(path, s, s_next, eta)
        x = x0 if down == 0 else _midpoint(model, x, x0, s, down)
        if s_next > 0 and eta > 0:
            x = x * scale + draw(s, s_next) * (s_noise * up)
    return x

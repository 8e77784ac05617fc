"""Heun's method and its three-point relative."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Churn, Denoise, OnStep, Step, at, quiet


def heun(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Second order, two evaluations a step (Karras et al. 2022, algorithm 2)."""
    churn = Churn(noise, x, len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
    return _corrected(model, x, sigmas, churn, on_step, ahead=1)


def heunpp2(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_churn: float = 0.0, s_tmin: float = 0.0, s_tmax: float = math.inf, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Heun++: up to three slopes, each weighted by its sigma over the first sigma of the schedule (Luo & Zhou 2024)."""
    churn = Churn(noise, x, len(sigmas) - 1, s_churn, s_tmin, s_tmax, s_noise)
    return _corrected(model, x, sigmas, churn, on_step, ahead=2)


def _corrected(model: Denoise, x: Tensor, sigmas: Tensor, churn: Churn, on_step: OnStep, ahead: int) -> Tensor:
    """Euler steps corrected by the slopes at up to `ahead` further sigmas, none of which may be the schedule's last."""
    grid = sigmas.tolist()
    last = grid[-1]
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x, s_hat = churn(x, s)
        x0 = at(model, x, s_hat)
        on_step(Step(i, s, s_hat, x, x0))
        slopes = [(x - x0) / s_hat]
        probe, here = x, s_hat
        for s_probe in grid[i + 1 : i + 1 + ahead]:
            # Heun itself only minds a division by zero; Heun++ also keeps away from a last sigma above zero
            if s_probe == 0 or (ahead > 1 and s_probe == last):
                break
            probe = probe + slopes[-1] * (s_probe - here)
            slopes.append((probe - at(model, probe, s_probe)) / s_probe)
            here = s_probe
        x = x + _mean(slopes, grid[i + 1 :], grid[0], ahead) * (s_next - s_hat)
    return x


def _mean(slopes: list[Tensor], ahead: list[float], first: float, most: int) -> Tensor:
    """The average slope: plain for Heun; for Heun++ slope k weighs sigma_k / (n sigma_0), and the first what is left of 1."""
    if most == 1:
        return slopes[0] if len(slopes) == 1 else (slopes[0] + slopes[1]) / 2
    weights = [s / (len(slopes) * first) for s in ahead[: len(slopes) - 1]]
    mean = slopes[0] * (1 - sum(weights))
    for weight, slope in zip(weights, slopes[1:], strict=True):
        mean = mean + slope * weight
    return mean

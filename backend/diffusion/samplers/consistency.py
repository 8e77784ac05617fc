"""Samplers for distilled models that jump to the answer and noise it again."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet, root


def lcm(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_noise: float = 1.0, s_noise_end: float | None = None, clip: float = 0.0,
) -> Tensor:  # fmt: skip
    """Multistep consistency sampling (Luo et al. 2023, algorithm 3): answer, then fresh noise up to the next sigma.

    The noise is as strong as `s_noise` says, or changes evenly from the first step to `s_noise_end` at the last one that adds any;
    with `clip` it is cut off at so many of its own standard deviations.
    """
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    last = max(1, len(grid) - 3)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        strength = s_noise if s_noise_end is None else s_noise + (s_noise_end - s_noise) * min(1.0, i / last)
        fresh = draw(s, s_next)
        if clip > 0:
            most = clip * float(torch.std(fresh))
            fresh = fresh.clamp(-most, most)
        x = x0 * path.alpha(s_next) + fresh * (s_next * strength)
    return x


def tcd(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 0.3, total: int = 1000,
) -> Tensor:  # fmt: skip
    """Trajectory consistency (Zheng et al. 2024, algorithm 4): step along the trajectory past the next sigma, to the one at
    (1 - eta) of its timestep, then noise up to it. eta 0 is DDIM, eta 1 multistep consistency sampling.

    The lower sigma is looked up by `path.percent`, which knows the model's clock of `total` timesteps; without one it is taken in
    proportion to alpha-bar's angle.
    """
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        low = _earlier(path, s_next, eta, total)
        # variance preserving amplitudes of the two sigmas; x itself stays on the variance exploding axis
        a_low, a_next = (path.alpha(low), path.alpha(s_next)) if path.flow else ((1 + low**2) ** -0.5, (1 + s_next**2) ** -0.5)
        b_low, b_next = (low, s_next) if path.flow else (low * a_low, s_next * a_next)
        eps = (x - x0 * path.alpha(s)) / s
        moved = (x0 * a_low + eps * b_low) * (a_next / a_low)
        up = root(b_next**2 - (a_next / a_low * b_low) ** 2)
        moved = moved + draw(s, s_next) * up
        x = moved if path.flow else moved / a_next
    return x


def _earlier(path: Path, sigma: float, eta: float, total: int) -> float:
    """The sigma at floor((1 - eta) t) where t is sigma's timestep, found by bisection of the model's percent."""
    if eta <= 0:
        return sigma
    if path.percent is None:
        return math.tan((1 - eta) * math.atan(sigma))
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if path.percent(middle) > sigma else (low, middle)
    last = total - 1
    timestep = math.floor((1 - eta) * round((1 - high) * last))
    return path.percent(1 - timestep / last) if timestep > 0 else path.percent(1 - 1e-9)

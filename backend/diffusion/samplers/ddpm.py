"""The first diffusion sampler, and DDIM with noise, both seen on the variance exploding axis."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet, root


def ddpm(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Ancestral sampling with the posterior of q(x_s | x_t, x0) (Ho et al. 2020, algorithm 2).

    In sigma: mean x0 + (x - x0) s_next^2 / s^2, variance s_next^2 (1 - s_next^2 / s^2).
    """
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        keep = (s_next / s) ** 2
        x = x0 + (x - x0) * keep
        if s_next > 0:
            x = x + draw(s, s_next) * (s_noise * s_next * root(1 - keep))
    return x

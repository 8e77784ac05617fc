"""Refined exponential solver, second order multistep (Zhang et al. 2023, RES, eq. for two steps)."""

from __future__ import annotations

import math
from functools import partial
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, ancestral, at, pair_at, quiet


def res_multistep(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 0.0, s_noise: float = 1.0, cfg_pp: bool = False,
) -> Tensor:  # fmt: skip
    """One evaluation a step; `eta` adds ancestral noise. With `cfg_pp` the multistep part runs on the unconditional estimate."""
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    before: tuple[Tensor, float] | None = None  # (estimate, t the last step aimed at)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s) if cfg_pp else (at(model, x, s),) * 2
        on_step(Step(i, s, s, x, x0))
        down, up = ancestral(s, s_next, eta)
        if down == 0:
            x = x0
        elif before is None:
            x = x0 + (x - uncond) * (down / s)
        else:
            x = _second_order(x + (x0 - uncond) if cfg_pp else x, uncond, before, grid[i - 1], s, down)
        if s_next > 0 and eta > 0:
            x = x + draw(s, s_next) * (s_noise * up)
        before = uncond, down
    return x


def _second_order(x: Tensor, x0: Tensor, before: tuple[Tensor, float], s_before: float, s: float, down: float) -> Tensor:
    """x(t + h) = e^-h x + h (b1 x0 + b2 x0_before), b2 = phi_2(-h) / c2, b1 = phi_1(-h) - b2, t = -log sigma.

    c2 h is the way from the sigma the last step aimed at back to the one it started from.
    """
    h = math.log(s / down)
    c2 = math.log(before[1] / s_before) / h
    phi_1 = math.expm1(-h) / -h
    phi_2 = (phi_1 - 1) / -h
    b2 = phi_2 / c2 if c2 else 0.0
    b1 = phi_1 - b2 if c2 else 0.0
    return x * math.exp(-h) + x0 * (h * b1) + before[0] * (h * b2)


res_multistep_cfg_pp = partial(res_multistep, cfg_pp=True)
res_multistep_ancestral = partial(res_multistep, eta=1.0)
res_multistep_ancestral_cfg_pp = partial(res_multistep, eta=1.0, cfg_pp=True)

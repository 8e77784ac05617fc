"""DPM-Solver++ (Lu et al. 2022): the multistep 2M and the single step ancestral 2S, plain and with CFG++ guidance."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, ancestral, at, pair_at, quiet, renoise


def dpmpp_2m(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """Second order multistep in -log sigma, one evaluation a step."""
    grid = sigmas.tolist()
    before: tuple[Tensor, float] | None = None
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        h = math.log(s / s_next)
        target = x0 if before is None else x0 + (x0 - before[0]) * (h / (2 * before[1]))
        x = x * (s_next / s) - target * math.expm1(-h)
        before = x0, h
    return x


def dpmpp_2m_cfg_pp(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """2M that moves to the guided estimate and renoises with the unconditional one."""
    grid = sigmas.tolist()
    before: tuple[Tensor, float] | None = None
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        h = math.log(s / s_next)
        x = x0 + (x - uncond) * math.exp(-h)
        if before is not None:
            x = x - (x0 - before[0]) * (math.expm1(-h) * h / (2 * before[1]))
        before = uncond, h
    return x


def dpmpp_2s_ancestral(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Second order single step, two evaluations, with ancestral noise."""
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        down, scale, up = renoise(path, s, s_next, eta)
        if down == 0:
            x = x0
        else:
            # halfway in log SNR; a flow at pure noise has no finite halfway, so it looks just below
            half = 0.9999 if path.flow and s >= 1 else path.sigma((path.log_snr(s) + path.log_snr(down)) / 2)
            middle = at(model, x0 + (x - x0) * (half / s), half)
            x = middle + (x - middle) * (down / s)
        if s_next > 0 and eta > 0:
            x = x * scale + draw(s, s_next) * (s_noise * up)
    return x


def dpmpp_2s_ancestral_cfg_pp(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 1.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """2S ancestral with the residual taken from the unconditional estimate."""
    grid, draw = sigmas.tolist(), noise.gaussian(x)
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        down, up = ancestral(s, s_next, eta)
        if down == 0:
            x = x0
        else:
            half = math.sqrt(s * down)
            moved = x + (x0 - uncond)
            middle = at(model, x0 + (moved - x0) * (half / s), half)
            x = middle + (moved - middle) * (down / s)
        if s_next > 0 and eta > 0:
            x = x + draw(s, s_next) * (s_noise * up)
    return x

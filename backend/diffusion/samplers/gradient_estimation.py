"""Sampling as gradient descent on the distance to the data (Permenter & Yuan 2023), with momentum on the slope."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, pair_at, quiet


def gradient_estimation(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    ge_gamma: float = 2.0, cfg_pp: bool = False,
) -> Tensor:  # fmt: skip
    """Euler with the slope extrapolated: d + (gamma - 1)(d - last d). `cfg_pp`: slopes from the unconditional estimate."""
    grid = sigmas.tolist()
    last: Tensor | None = None
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0, uncond = pair_at(model, x, s) if cfg_pp else (at(model, x, s),) * 2
        on_step(Step(i, s, s, x, x0))
        d = (x - uncond) / s
        if s_next == 0:
            x = x0
            continue
        x = x0 + d * s_next
        if last is not None:
            x = x + (d - last) * ((ge_gamma - 1) * (s_next - s))
        last = d
    return x


gradient_estimation_cfg_pp = partial(gradient_estimation, cfg_pp=True)

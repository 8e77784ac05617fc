"""Extended reverse-time SDE solvers (Cui et al. 2023, ER-SDE-Solver), in lambda = sigma / alpha."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet, root

Scaler = Callable[[float], float]

SOLVER_TYPES = ("ER-SDE", "Reverse-time SDE", "ODE")

_POINTS = 200


def noise_scaler(solver_type: str = "ER-SDE", eta: float = 1.0) -> Scaler:
    """phi(lambda), whose ratio over a step says how much old noise is kept: the paper's "ER-SDE" choice, lambda^(1 + eta) for the
    reverse-time SDE, lambda for the ODE."""
    if solver_type == "ER-SDE":
        return lambda v: v * (math.exp(v**0.3) + 10.0)
    if solver_type not in SOLVER_TYPES:
        raise BadInput(f"There is no solver type {solver_type!r}.", hint=f"Choose one of {', '.join(SOLVER_TYPES)}.", input="solver_type")
    power = 1.0 + (0.0 if solver_type == "ODE" else eta)
    return lambda v: v**power


def er_sde(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    s_noise: float = 1.0, max_stage: int = 3, solver_type: str = "ER-SDE", eta: float = 1.0,
) -> Tensor:  # fmt: skip
    """Up to third order in the past estimates (`max_stage`), one evaluation a step (algorithm 3 of the paper)."""
    phi = noise_scaler(solver_type, eta)
    noisy = s_noise > 0 and not (solver_type == "ODE" or (solver_type == "Reverse-time SDE" and eta == 0))
    draw = noise.gaussian(x)
    grid = path.usable(sigmas.tolist())
    lam = [s / path.alpha(s) for s in grid]
    past: Tensor | None = None
    past_slope: Tensor | None = None
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        if s_next == 0:
            x = x0
            continue
        a, a_next, old, new = path.alpha(s), path.alpha(s_next), lam[i], lam[i + 1]
        r = phi(new) / phi(old)
        x = x * (a_next / a * r) + x0 * (a_next * (1 - r))
        stage, dt = min(max_stage, i + 1), new - old
        if stage >= 2 and past is not None:
            area, moment = _integrals(phi, new, old)
            slope = (x0 - past) / (old - lam[i - 1])
            x = x + slope * (a_next * (dt + area * phi(new)))
            if stage >= 3 and past_slope is not None:
                curve = (slope - past_slope) / ((old - lam[i - 2]) / 2)
                x = x + curve * (a_next * (dt**2 / 2 + moment * phi(new)))
            past_slope = slope
        if noisy:
            x = x + draw(s, s_next) * (a_next * s_noise * root(new**2 - old**2 * r**2))
        past = x0
    return x


def _integrals(phi: Scaler, new: float, old: float) -> tuple[float, float]:
    """Integrals over [new, old] of 1 / phi and of (lambda - old) / phi, by the left sums of the reference."""
    width = (old - new) / _POINTS
    points = [new + k * width for k in range(_POINTS)]
    inverse = [1 / phi(p) for p in points]
    return sum(inverse) * width, sum((p - old) * v for p, v in zip(points, inverse, strict=True)) * width

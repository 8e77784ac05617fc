"""Unified predictor-corrector (Zhao et al. 2023, UniPC), multistep, predicting x0, in lambda = -log sigma."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from torch import Tensor

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet

_LAST = 0.001
"""A schedule that ends at 0 is integrated down to this sigma: lambda is infinite at 0."""


def uni_pc(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    order: int = 3, variant: str = "bh1",
) -> Tensor:  # fmt: skip
    """Each step predicts with UniP, evaluates, and corrects with UniC at no further evaluation. `variant`: B(h) = h ("bh1") or
    e^h - 1 ("bh2"). Orders grow at the start and fall at the end."""
    grid = sigmas.tolist()
    if len(grid) <= 1:
        return x
    grid[-1] = grid[-1] or _LAST
    steps = len(grid) - 1
    most = max(1, min(order, steps - 1))
    past: list[tuple[float, Tensor]] = []  # (lambda, x0), newest first
    for i, s in enumerate(grid):
        if not past:
            x0 = at(model, x, s)
            on_step(Step(0, s, s, x, x0))
        else:
            now = min(most, i, steps + 1 - i)
            step = _Update(x, past[:now], grid[i - 1], s, variant)
            predicted = step.predict()
            if i == steps:
                return predicted
            x0 = at(model, predicted, s)
            on_step(Step(i, s, s, predicted, x0))
            x = step.correct(x0)
        past = [(-math.log(s), x0), *past[: most - 1]]
    return x


class _Update:
    """The step from sigma to sigma_next with the estimates `past` (newest first); its order is their number."""

    def __init__(self, x: Tensor, past: list[tuple[float, Tensor]], sigma: float, sigma_next: float, variant: str) -> None:
        lam, self.newest = past[0]
        h = -math.log(sigma_next) - lam
        ratios = [(other - lam) / h for other, _ in past[1:]]
        self.differences = [(x0 - self.newest) / r for r, (_, x0) in zip(ratios, past[1:], strict=True)]
        self.b_h = -h if variant == "bh1" else math.expm1(-h)
        self.start = x * (sigma_next / sigma) - self.newest * math.expm1(-h)
        order = len(past)
        # R rho = b (paper, eq. 5): rows are powers of the ratios, b_n = n! phi_(n+1)(-h) / B(h)
        self.matrix = np.vander(np.array([*ratios, 1.0]), order, increasing=True).T
        phi, factorial, right = math.expm1(-h) / -h - 1, 1, []
        for n in range(1, order + 1):
            right.append(phi * factorial / self.b_h)
            factorial *= n + 1
            phi = phi / -h - 1 / factorial
        self.right = np.array(right)

    def predict(self) -> Tensor:
        """UniP. At order 2 the weight is 1/2 exactly, which does not change the order."""
        count = len(self.differences)
        weights = [0.5] if count == 1 else np.linalg.solve(self.matrix[:-1, :-1], self.right[:-1]).tolist() if count else []
        return self.start - self._sum(self.differences, weights)

    def correct(self, x0: Tensor) -> Tensor:
        """UniC, given the evaluation at the predicted point."""
        weights = [0.5] if len(self.right) == 1 else np.linalg.solve(self.matrix, self.right).tolist()
        return self.start - self._sum([*self.differences, x0 - self.newest], weights)

    def _sum(self, terms: list[Tensor], weights: list[float]) -> Tensor | float:
        total: Tensor | float = 0.0
        for term, weight in zip(terms, weights, strict=True):
            total = total + term * (self.b_h * weight)
        return total


uni_pc_bh2 = partial(uni_pc, variant="bh2")

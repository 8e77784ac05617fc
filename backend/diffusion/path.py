"""The straight or curved line from data to noise: x(sigma) = alpha(sigma) x0 + sigma eps. All that solvers know of a model's noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Path:
    """A noise path. `flow` False: variance exploding, alpha = 1. `flow` True: rectified flow, alpha = 1 - sigma.

    `percent` maps the fraction of sampling done to sigma; a noise model supplies its own, and without one solvers that
    need a fraction fall back on the schedule they were given.
    """

    flow: bool = False
    percent: Callable[[float], float] | None = None

    def alpha(self, sigma: float) -> float:
        """How much of the clean signal is left at `sigma`."""
        return 1.0 - sigma if self.flow else 1.0

    def log_snr(self, sigma: float) -> float:
        """Half the log signal-to-noise ratio, lambda = log(alpha / sigma) (Lu et al. 2022, DPM-Solver); infinite at sigma 0."""
        if sigma <= 0:
            return math.inf
        alpha = self.alpha(sigma)
        return -math.inf if alpha <= 0 else math.log(alpha) - math.log(sigma)

    def sigma(self, log_snr: float) -> float:
        """The inverse of `log_snr`."""
        return 1.0 / (1.0 + math.exp(log_snr)) if self.flow else math.exp(-log_snr)

    def usable(self, sigmas: list[float]) -> list[float]:
        """The schedule with a finite log SNR everywhere: a flow that starts at pure noise starts a hair (1e-4 of the way) later."""
        if not self.flow or not sigmas or sigmas[0] < 1:
            return sigmas
        first = self.percent(1e-4) if self.percent is not None else 1 - 1e-4
        return [first, *sigmas[1:]]


VARIANCE_EXPLODING = Path()
RECTIFIED_FLOW = Path(flow=True)

"""Where the noise of stochastic samplers comes from. Same seed, same machine kind, same noise; nothing reads the global generator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

NoiseAt = Callable[[float, float], Tensor]
"""(sigma, next sigma) -> unit normal noise of the latent's shape, for the step between the two."""

_SEEDS = 1 << 64
_TREE_DIGITS = 6


class NoiseSource(Protocol):
    """A sampler asks once, before its first step, for the kind of noise it was designed for."""

    def gaussian(self, x: Tensor) -> NoiseAt:
        """Independent noise for each call, like `x`."""
        ...

    def brownian(self, x: Tensor, low: float, high: float, cpu: bool = True) -> NoiseAt:
        """Increments of one Brownian path over [low, high], so that other step counts see the same randomness."""
        ...


@dataclass(frozen=True, slots=True)
class SeededNoise:
    """Noise from a seed.

    Gaussian noise is drawn on the latent's device by a generator of its own, seeded `seed` there and `seed + 1` on the CPU:
    the initial latent was drawn on the CPU from `seed`, and must not be drawn a second time.
    """

    seed: int

    def gaussian(self, x: Tensor) -> NoiseAt:
        seed = self.seed + 1 if x.device.type == "cpu" else self.seed
        generator = torch.Generator(device=x.device).manual_seed(seed % _SEEDS)
        return lambda sigma, sigma_next: torch.randn(x.shape, dtype=x.dtype, device=x.device, generator=generator)

    def brownian(self, x: Tensor, low: float, high: float, cpu: bool = True) -> NoiseAt:
        return BrownianNoise(x, low, high, self.seed % _SEEDS, cpu)


class BrownianNoise:
    """Normalised increments of a Brownian motion indexed by sigma (Li et al. 2020, virtual Brownian tree)."""

    def __init__(self, x: Tensor, low: float, high: float, seed: int, cpu: bool = True) -> None:
        import torchsde  # here, because it brings scipy and most samplings never need it

        self._like = x
        self._home = torch.device("cpu") if cpu else x.device
        start = torch.zeros_like(x, device=self._home)
        self._tree = torchsde.BrownianTree(self._time(low), start, self._time(high), entropy=seed)
        # the tree rounds its ends to its tolerance; what lies a rounding error outside means the end
        self._ends = tuple(round(float(self._time(end)), _TREE_DIGITS) for end in (low, high))

    def _time(self, sigma: float) -> Tensor:
        # fp32 on purpose: the path is rough, so another rounding of the same sigma is other noise
        return torch.tensor(sigma, dtype=torch.float32)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        a, b = self._time(min(sigma, sigma_next)), self._time(max(sigma, sigma_next))
        sign = -1.0 if sigma > sigma_next else 1.0
        low, high = self._ends
        increment: Tensor = self._tree(min(max(float(a), low), high), min(max(float(b), low), high)) * sign / float((b - a).sqrt())
        return increment.to(self._like)


@dataclass(frozen=True, slots=True)
class ScaledNoise:
    """The noise of another source, so many times as strong."""

    source: NoiseSource
    scale: float

    def gaussian(self, x: Tensor) -> NoiseAt:
        return self._scaled(self.source.gaussian(x))

    def brownian(self, x: Tensor, low: float, high: float, cpu: bool = True) -> NoiseAt:
        return self._scaled(self.source.brownian(x, low, high, cpu))

    def _scaled(self, draw: NoiseAt) -> NoiseAt:
        return lambda sigma, sigma_next: draw(sigma, sigma_next) * self.scale


@dataclass(frozen=True, slots=True)
class GivenNoise:
    """Noise from a function, whatever the sampler asked for: how packs and tests bring their own."""

    draw: NoiseAt

    def gaussian(self, x: Tensor) -> NoiseAt:
        return self.draw

    def brownian(self, x: Tensor, low: float, high: float, cpu: bool = True) -> NoiseAt:
        return self.draw

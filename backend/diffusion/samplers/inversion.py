"""From a picture back to the noise it would come from, and consistency sampling that grows."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor
from torch.nn import functional as F

from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet


def ddim_inversion(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING
) -> Tensor:
    """DDIM backwards (Song et al. 2020, section 4.3): sigmas ascend, and each step uses the noise that the net sees in x at the next sigma.

    The net is shown x as it is (scaled for its own level) and told the level it goes to, as inverse DDIM schedulers do. On a flow path
    it is Euler's step.
    """
    return inversion_trail(model, x, sigmas, on_step=on_step, path=path)[-1]


def inversion_trail(model: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING) -> list[Tensor]:
    """The latent at every sigma of DDIM inversion, the given one first."""
    trail = [x]
    for i, (s, s_next) in enumerate(pairwise(sigmas.tolist())):
        told = s_next if s_next > 0 else s
        seen = x if path.flow else x * math.sqrt((1 + told * told) / (1 + s * s))
        x0 = at(model, seen, told)
        on_step(Step(i, s, told, seen, x0))
        x = x + (seen - x0) / told * (s_next - s)
        trail.append(x)
    return trail


def bilinear(x: Tensor, width: int, height: int) -> Tensor:
    """A latent [B, C, H, W] at another size."""
    return F.interpolate(x, (height, width), mode="bilinear")


def lcm_upscale(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    ratio: float = 1.0, steps: int | None = None, resize: Callable[[Tensor, int, int], Tensor] = bilinear,
) -> Tensor:  # fmt: skip
    """Consistency sampling whose answers grow in equal parts to `ratio` times their size in the first `steps` steps (default: half).

    `resize(x, width, height)` changes the size of latents [B, C, H, W]. Noise is drawn at the largest size and cut to that of the step.
    """
    grid = sigmas.tolist()
    height, width = x.shape[-2:]
    count = max(len(grid) // 2, 1) if steps is None else min(steps, len(grid) - 1)
    largest = max(1.0, ratio)
    draw = noise.gaussian(x.new_empty(*x.shape[:-2], round(height * largest), round(width * largest)))
    for i, (s, s_next) in enumerate(pairwise(grid)):
        x0 = at(model, x, s)
        on_step(Step(i, s, s, x, x0))
        x = x0
        if i < count and ratio != 1:
            factor = 1 + (ratio - 1) * (i + 1) / count
            x = resize(x, max(1, round(width * factor)), max(1, round(height * factor)))
        if s_next > 0:
            x = x * path.alpha(s_next) + draw(s, s_next)[..., : x.shape[-2], : x.shape[-1]] * s_next
    return x

"""DiffEdit (Couairon et al. 2022, arXiv:2210.11427): change what a picture shows where two prompts disagree, and keep the rest."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import Guider
from backend.diffusion.inpaint import fit_noise_mask
from backend.diffusion.path import Path
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import Solver
from backend.diffusion.samplers.inversion import inversion_trail
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, at, quiet
from backend.memory.pool import Pool


def mask(
    source: Guider, target: Guider, latent: Tensor, sigma: float, *, pool: Pool, seed: int, maps: int = 10, threshold: float = 3.0
) -> Tensor:
    """[B, H, W] of 0 and 1 at latent size: where the predictions for two prompts differ, as a mean over `maps` noises at `sigma`.

    Differences are cut at `threshold` times their mean; what lies above half of that is 1.
    """
    many = latent.repeat_interleave(maps, dim=0)
    noise, found = prepare_noise(many, seed), list[Tensor]()

    def answer(model: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep, **_: Any) -> Tensor:
        found.append(at(model, x, float(sigmas[0])).float().cpu())
        return x

    for guider in (source, target):
        sample(guider, noise, many, Solver("answer", answer), torch.tensor([sigma, 0.0]), pool=pool, seed=seed)
    difference = (found[1] - found[0]).abs().reshape(latent.shape[0], maps, *latent.shape[1:]).mean((1, 2))
    most = difference.mean() * threshold
    return (difference.clamp(max=float(most)) > most / 2).float()


def edit(source: Guider, target: Guider, latent: Tensor, mask: Tensor, sigmas: Tensor, *, pool: Pool, on_step: OnStep = quiet) -> Tensor:
    """`latent` [B, C, ...] as `target` has it inside `mask` (any size, 1 = change). `sigmas` descend to 0.

    `source` describes the picture as it is and guides the way up to its noise. On the way down everything outside the mask passes through
    the latents of the way up, level by level. Raises BadInput for sigmas that do not end at 0.
    """
    if len(sigmas) < 2 or float(sigmas[-1]) != 0:
        raise BadInput("The schedule has to end at 0.", hint="Take at least one step.", input="steps")
    steps, nothing, seen = len(sigmas) - 1, torch.zeros_like(latent), list[Tensor]()
    area = fit_noise_mask(mask, latent.shape).to(pool.device)

    def up(model: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep, path: Path, **_: Any) -> Tensor:
        seen[:] = inversion_trail(model, x, sigmas, on_step=on_step, path=path)
        return x

    def down(model: Denoise, x: Tensor, sigmas: Tensor, *, on_step: OnStep, **_: Any) -> Tensor:
        x = seen.pop()
        for i, (s, s_next) in enumerate(pairwise(sigmas.tolist())):
            x0 = at(model, x, s)
            on_step(Step(steps + i, s, s, x, x0))
            x = x + (x - x0) / s * (s_next - s)
            x = x * area + seen.pop() * (1 - area)
        return x

    sample(source, nothing, latent, Solver("up", up), sigmas.flip(0), pool=pool, on_step=on_step)
    return sample(target, nothing, latent, Solver("down", down), sigmas, pool=pool, on_step=on_step)

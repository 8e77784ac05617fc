"""Sampling as the KSampler nodes describe it: names, step counts and a latent dict in, a latent dict out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from backend.diffusion.conditioning import Conditioning
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.samplers.solver import OnStep, quiet
from backend.diffusion.schedules import sampling_sigmas
from backend.memory.pool import Pool


def ksample(
    model: ModelHandle, seed: int, steps: int, cfg: float, sampler: str, scheduler: str, positive: Conditioning, negative: Conditioning,
    latent: Mapping[str, Any], denoise: float = 1.0, *, pool: Pool, on_step: OnStep = quiet, disable_noise: bool = False,
    start_step: int | None = None, last_step: int | None = None, force_full_denoise: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """A copy of `latent` with new "samples".

    Steps `start_step` to `last_step` of the schedule are taken; `force_full_denoise` makes the last of them end without noise.
    `disable_noise` adds none at the start (a latent that still has its own). "noise_mask" and "batch_index" of the latent are obeyed.
    """
    clean = model.family.latent.adapt_empty(latent["samples"])
    noise = torch.zeros(clean.shape, dtype=torch.float32) if disable_noise else prepare_noise(clean, seed, latent.get("batch_index"))
    sigmas = sampling_sigmas(model.noise, scheduler, steps, sampler, denoise)
    if last_step is not None and last_step < len(sigmas) - 1:
        sigmas = sigmas[: last_step + 1].clone()
        if force_full_denoise:
            sigmas[-1] = 0
    if start_step is not None:
        # past the end there is nothing to do, and the latent is the answer
        sigmas = sigmas[start_step:] if start_step < len(sigmas) - 1 else sigmas[:0]
    samples = sample(
        CfgGuider(model, positive, negative, cfg), noise, clean, solver(sampler), sigmas, latent.get("noise_mask"),
        pool=pool, on_step=on_step, seed=seed,
    )  # fmt: skip
    return {**latent, "samples": samples}

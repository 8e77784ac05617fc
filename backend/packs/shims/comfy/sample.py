"""`comfy.sample`: noise, and sampling by names."""

from __future__ import annotations

from typing import Any

import torch

import comfy.samplers
from backend.diffusion.sample import prepare_noise as _prepare


def prepare_noise(latent_image: Any, seed: int, noise_inds: Any = None) -> Any:
    """Unit noise for a batch, the same bit for bit everywhere."""
    return _prepare(latent_image, seed, None if noise_inds is None else [int(i) for i in noise_inds])


def prepare_noise_inner(latent_image: Any, generator: Any, noise_inds: Any = None) -> Any:
    return torch.randn(latent_image.shape, dtype=latent_image.dtype, layout=latent_image.layout, generator=generator, device="cpu")


def fix_empty_latent_channels(model: Any, latent_image: Any, *rest: Any) -> Any:
    fmt = model.get_model_object("latent_format")
    if fmt.ours is not None:
        return fmt.ours.adapt_empty(latent_image)
    if fmt.latent_channels != latent_image.shape[1] and not torch.any(latent_image):
        latent_image = latent_image.new_zeros(latent_image.shape[0], fmt.latent_channels, *latent_image.shape[2:])
    return latent_image


def sample(
    model: Any, noise: Any, steps: int, cfg: float, sampler_name: str, scheduler: str, positive: Any, negative: Any, latent_image: Any,
    denoise: float = 1.0, disable_noise: bool = False, start_step: int | None = None, last_step: int | None = None,
    force_full_denoise: bool = False, noise_mask: Any = None, sigmas: Any = None, callback: Any = None, disable_pbar: bool = False,
    seed: int | None = None,
) -> Any:  # fmt: skip
    sampler = comfy.samplers.KSampler(model, steps, model.load_device, sampler_name, scheduler, denoise, model.model_options)
    return sampler.sample(
        noise,
        positive,
        negative,
        cfg,
        latent_image,
        start_step,
        last_step,
        force_full_denoise,
        noise_mask,
        sigmas,
        callback,
        disable_pbar,
        seed,
    )


def sample_custom(
    model: Any, noise: Any, cfg: float, sampler: Any, sigmas: Any, positive: Any, negative: Any, latent_image: Any, noise_mask: Any = None,
    callback: Any = None, disable_pbar: bool = False, seed: int | None = None,
) -> Any:  # fmt: skip
    return comfy.samplers.sample(
        model, noise, positive, negative, cfg, model.load_device, sampler, sigmas, model.model_options, latent_image, noise_mask, callback,
        disable_pbar, seed,
    )  # fmt: skip


def cleanup_additional_models(models: Any) -> None:
    return None

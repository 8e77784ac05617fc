"""What whole sampled latents are compared with: a model file, a diffusers pipeline, prompts and noise for both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import Tensor

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.families.load import Loaded, load_checkpoint
from backend.memory.pool import Pool
from tests.families import tiny
from tests.families.kinds import Kind

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "timestep_spacing": "trailing"}
STEPS, SEED, CFG, SIDE = 4, 7, 3.0, 8
CLOSE = 1e-4
WHOLE = {"output_type": "latent", "num_inference_steps": STEPS, "width": SIDE * 2, "height": SIDE * 2}


def euler(**config: Any) -> Any:
    return diffusers.EulerDiscreteScheduler(**{**SD, **config})


def started(noise: Tensor, scheduler: Any, steps: int = STEPS) -> Tensor:
    """Noise for diffusers, which starts this spacing at sigma noise and we at sqrt(1 + sigma^2) noise."""
    scheduler.set_timesteps(steps)
    init = float(scheduler.init_noise_sigma)
    return noise * (1 + init**2) ** 0.5 / init if init != 1 else noise


def quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def loaded(twin: Kind, tmp_path: Path, extra: Mapping[str, Tensor] | None = None) -> Loaded:
    return load_checkpoint(twin.single(tmp_path / "m.safetensors", extra), tiny.services(tmp_path))


def texts(found: Loaded) -> tuple[list[Any], list[Any]]:
    assert found.clip is not None
    pool = Pool("cpu")
    return found.clip.conditioning("a red cat", pool), found.clip.conditioning("blurry", pool)


def with_(conditioning: list[Any], **values: Any) -> list[Any]:
    return [[tokens, {**extra, **values}] for tokens, extra in conditioning]


def ours(
    model: ModelHandle | None, positive: list[Any], negative: list[Any], noise: Tensor, cfg: float = CFG, guider: Any = None,
    mask: Tensor | None = None, latent: Tensor | None = None, seed: int = SEED, sampler: str = "euler",
) -> Tensor:  # fmt: skip
    """The final latent as the net sees it."""
    assert model is not None
    sigmas = schedule("simple", model.noise, STEPS)
    chosen = guider(model) if guider else CfgGuider(model, positive, negative, cfg)
    clean = torch.zeros_like(noise) if latent is None else latent
    return model.family.latent.process_in(sample(chosen, noise, clean, solver(sampler), sigmas, mask, pool=Pool("cpu"), seed=seed))


def noise_like(channels: int = 4) -> Tensor:
    return prepare_noise(torch.zeros(1, channels, SIDE, SIDE), SEED)


def prompt(found: Loaded, xl: bool = False) -> dict[str, Tensor]:
    (positive, told), (negative, told_negative) = (c[0] for c in texts(found))
    named = {"prompt_embeds": positive, "negative_prompt_embeds": negative}
    pooled = {"pooled_prompt_embeds": told["pooled_output"], "negative_pooled_prompt_embeds": told_negative["pooled_output"]}
    return named | (pooled if xl else {})


def xl(cls: Any, twin: Kind, scheduler: Any, **more: Any) -> Any:
    parts = {"vae": twin.vae, "unet": twin.unet, "scheduler": scheduler}
    none = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    return quiet(cls(**parts, **none, add_watermarker=False, **more))

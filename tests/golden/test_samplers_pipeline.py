"""A whole sampled latent through checkpoint, loader, pool and loop, against the diffusers pipeline with the same weights and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from backend.diffusion.ksample import ksample
from backend.diffusion.sample import prepare_noise
from backend.diffusion.schedules import schedule
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from tests.families.tiny import make, services

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS, SEED, CFG = 10, 7, 5.0

CASES: list[tuple[str, str, Any]] = [
    ("euler", "simple", lambda: diffusers.EulerDiscreteScheduler(**SD, timestep_spacing="trailing")),
    ("ddim", "simple", lambda: diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing")),
    ("heun", "simple", lambda: diffusers.HeunDiscreteScheduler(**SD, timestep_spacing="trailing")),
    ("dpmpp_2m", "simple", lambda: diffusers.DPMSolverMultistepScheduler(
        **SD, timestep_spacing="trailing", final_sigmas_type="zero", euler_at_final=False, lower_order_final=False)),
]  # fmt: skip


@pytest.fixture(scope="module")
def texts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 77, 64, generator=generator), torch.randn(1, 77, 64, generator=generator)


@pytest.mark.parametrize(("sampler", "scheduler", "reference"), CASES, ids=[c[0] for c in CASES])
def test_whole_latent(sampler: str, scheduler: str, reference: Any, texts: tuple[Tensor, Tensor], tmp_path: Path) -> None:
    tiny = make()
    positive, negative = texts
    noise = prepare_noise(torch.zeros(2, 4, 8, 8), SEED)
    pipeline = diffusers.StableDiffusionPipeline(
        tiny.vae, tiny.text, None, tiny.unet, reference(), None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    # diffusers starts this spacing at sigma noise, we at sqrt(1 + sigma^2) noise, which has the deviation seen in training
    pipeline.scheduler.set_timesteps(STEPS)
    init = float(pipeline.scheduler.init_noise_sigma)
    start = noise * (1 + init**2) ** 0.5 / init if init != 1 else noise
    expected = pipeline(
        prompt_embeds=positive.repeat(2, 1, 1), negative_prompt_embeds=negative.repeat(2, 1, 1), latents=start, guidance_scale=CFG,
        num_inference_steps=STEPS, output_type="latent", width=16, height=16,
    ).images  # fmt: skip

    model = load_checkpoint(tiny.single(tmp_path / "tiny.safetensors"), services(tmp_path)).model
    assert model is not None
    assert len(schedule(scheduler, model.noise, STEPS)) == STEPS + 1
    latent = {"samples": torch.zeros(2, 4, 8, 8)}
    got = ksample(model, SEED, STEPS, CFG, sampler, scheduler, [[positive, {}]], [[negative, {}]], latent, pool=Pool("cpu"))["samples"]
    assert (model.family.latent.process_in(got) - expected).abs().max() < 1e-4

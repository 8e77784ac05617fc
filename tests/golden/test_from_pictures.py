"""Whole latents that start from a picture, and those of pruned nets, against the diffusers pipeline of the same name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.memory.pool import Pool
from tests.families import kinds
from tests.golden.whole import (
    CFG,
    CLOSE,
    SD,
    SIDE,
    STEPS,
    WHOLE,
    euler,
    loaded,
    noise_like,
    ours,
    prompt,
    quiet,
    started,
    texts,
    with_,
    xl,
)

STRENGTH = 0.75


def clean() -> Tensor:
    """A latent as the net sees it."""
    return torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3))


@contextmanager
def drawing(pipeline: type, draw: Any) -> Iterator[None]:
    """The pipeline with its noise from `draw(shape)`."""
    module = __import__(pipeline.__module__, fromlist=["randn_tensor"])
    kept, module.randn_tensor = module.randn_tensor, lambda shape, **kwargs: draw(shape)
    try:
        yield
    finally:
        module.randn_tensor = kept


PIPELINES = {
    "sd1": diffusers.StableDiffusionImg2ImgPipeline,
    "sdxl": diffusers.StableDiffusionXLImg2ImgPipeline,
    "refiner": diffusers.StableDiffusionXLImg2ImgPipeline,
}


@pytest.mark.parametrize("kind", PIPELINES)
def test_image_to_image(kind: str, tmp_path: Path) -> None:
    twin, noise, image = kinds.make(kind), noise_like(), clean()
    found, scheduler, cls = loaded(twin, tmp_path), euler(), PIPELINES[kind]
    assert found.model is not None
    named = {**prompt(found, kind != "sd1"), "image": image, "strength": STRENGTH, "guidance_scale": CFG}
    if kind == "sd1":
        pipeline = quiet(cls(twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))
    else:
        pipeline = xl(cls, twin, scheduler, requires_aesthetics_score=kind == "refiner")
        named |= {"original_size": (16, 16), "target_size": (16, 16)}
    with drawing(cls, lambda shape: noise):
        want = pipeline(**named, num_inference_steps=STEPS, output_type="latent").images
    guider = CfgGuider(found.model, *(with_(c, height=16, width=16) for c in texts(found)), CFG)
    sigmas, latent = schedule("simple", found.model.noise, STEPS)[1:], found.model.family.latent.process_out(image)
    got = sample(guider, noise, latent, solver("euler"), sigmas, pool=Pool("cpu"))
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


def test_inpainting_with_any_model(tmp_path: Path) -> None:
    """Outside the mask the latent is noised anew at each step, and comes out as it was."""
    twin, noise, image = kinds.make("sd1"), noise_like(), clean()
    found, scheduler, cls = loaded(twin, tmp_path), euler(), diffusers.StableDiffusionInpaintPipeline
    assert found.model is not None
    pipeline = quiet(cls(twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))
    mask = torch.zeros(1, 1, SIDE, SIDE)
    mask[..., 2:6, 1:5] = 1
    with drawing(cls, lambda shape: noise):
        want = pipeline(
            **prompt(found), image=image, mask_image=mask.repeat_interleave(2, -1).repeat_interleave(2, -2), strength=STRENGTH,
            masked_image_latents=image, guidance_scale=CFG, **WHOLE,
        ).images  # fmt: skip
    sigmas, latent = schedule("simple", found.model.noise, STEPS)[1:], found.model.family.latent.process_out(image)
    got = sample(CfgGuider(found.model, *texts(found), CFG), noise, latent, solver("euler"), sigmas, mask, pool=Pool("cpu"))
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


def test_lcm_image_to_image(tmp_path: Path) -> None:
    twin, image, cls = kinds.make("lcm"), clean(), diffusers.LatentConsistencyModelImg2ImgPipeline
    found = loaded(twin, tmp_path)
    assert found.model is not None
    scheduler = diffusers.LCMScheduler(**{**SD, "timestep_spacing": "leading"}, clip_sample=False, set_alpha_to_one=True)
    pipeline = quiet(cls(twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))
    fresh, drawn = torch.Generator().manual_seed(5), []

    def draw(shape: Any) -> Tensor:
        drawn.append(torch.randn(shape, generator=fresh))
        return drawn[-1]

    with drawing(cls, draw), drawing(diffusers.LCMScheduler, draw):
        want = pipeline(
            prompt_embeds=prompt(found)["prompt_embeds"], guidance_scale=6.0, image=image, strength=0.8, original_inference_steps=50,
            num_inference_steps=STEPS, output_type="latent",
        ).images  # fmt: skip
    positive, _ = texts(found)
    sigmas = torch.cat([found.model.noise.sigma(scheduler.timesteps.float()), torch.zeros(1)])
    guider, rest = CfgGuider(found.model, with_(positive, guidance=6.0), positive, 1.0), iter(drawn[1:])
    latent = found.model.family.latent.process_out(image)
    source = GivenNoise(lambda *where: next(rest))
    got = sample(guider, drawn[0], latent, solver("lcm"), sigmas, pool=Pool("cpu"), source=source)
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


@pytest.mark.parametrize("kind", ["ssd-1b", "bk-sdm"])
def test_pruned_nets(kind: str, tmp_path: Path) -> None:
    twin, noise, scheduler = kinds.make(kind), noise_like(), euler()
    is_xl = kind == "ssd-1b"
    found = loaded(twin, tmp_path)
    named: dict[str, Any] = {**prompt(found, is_xl), "latents": started(noise, scheduler), "guidance_scale": CFG, **WHOLE}
    if is_xl:
        pipeline = xl(diffusers.StableDiffusionXLPipeline, twin, scheduler)
    else:
        cls = diffusers.StableDiffusionPipeline
        pipeline = quiet(cls(twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))
    want = pipeline(**named).images
    assert (ours(found.model, *(with_(c, height=16, width=16) for c in texts(found)), noise) - want).abs().max() < CLOSE

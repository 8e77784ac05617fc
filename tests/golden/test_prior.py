"""The prior of unCLIP against diffusers: one call, and the embedding that its pipeline goes on with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import pytest
import torch
from diffusers import StableUnCLIPPipeline
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.families import save
from backend.families.load import load_diffusion_model, load_text_encoder
from backend.memory.pool import Pool
from nodes.prior import prior_conditioning, prior_embedding
from tests.families import kinds, tiny
from tests.families.priors import EMBED, twin
from tests.golden.whole import CFG, CLOSE, SEED, STEPS, quiet
from tests.nodes.bench import Bench


class Done(Exception):
    """The prior's part of the pipeline is over."""


def test_prior(tmp_path: Path) -> None:
    theirs, text = twin(), kinds.text(64, projection=EMBED)
    theirs.save_pretrained(tmp_path / "prior")
    text.save_pretrained(tmp_path / "text")
    services, pool = tiny.services(tmp_path), Pool("cpu")
    model, clip = load_diffusion_model(tmp_path / "prior", services), load_text_encoder(tmp_path / "text", services)
    assert model.family.name == "unCLIP prior" and model.sizes.tokens == 77 and model.family.latent.channels == EMBED
    ctx = Bench(tmp_path / "home").context()
    parts = prior_conditioning(ctx, clip=clip, text="a red cat", negative="")
    noise = prepare_noise(parts.latent["samples"], SEED)

    def tokenizer(prompt: Any, **named: Any) -> Any:
        chunk = clip.tokenize("".join(prompt))["l"][0]
        ids = torch.tensor([[token for token, _ in chunk]])
        return SimpleNamespace(input_ids=ids, attention_mask=(torch.arange(77) <= ids[0].tolist().index(49407)).long()[None])

    tokenizer.model_max_length = 77  # type: ignore[attr-defined]
    captured: list[Tensor] = []

    def capture(image_embeds: Tensor, **named: Any) -> None:
        captured.append(image_embeds)
        raise Done

    scheduler = diffusers.DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", prediction_type="sample", clip_sample_range=5.0, timestep_spacing="trailing",
        variance_type="fixed_small_log",
    )  # fmt: skip
    unclip = kinds.make("unclip")
    pipeline = quiet(StableUnCLIPPipeline(
        tokenizer, text, theirs, scheduler, None, scheduler, None, None, unclip.unet, scheduler, unclip.vae))  # fmt: skip
    pipeline.noise_image_embeddings = capture
    pipeline.encode_prompt = lambda **named: (torch.zeros(1), torch.zeros(1))
    module = __import__("diffusers.schedulers.scheduling_ddpm", fromlist=["randn_tensor"])
    fresh, drawn, kept = torch.Generator().manual_seed(5), [], module.randn_tensor

    def draw(shape: Any, **named: Any) -> Tensor:
        drawn.append(torch.randn(shape, generator=fresh))
        return drawn[-1]

    module.randn_tensor = draw
    try:
        with pytest.raises(Done):
            pipeline("a red cat", prior_latents=noise.flatten(1), prior_num_inference_steps=STEPS, prior_guidance_scale=CFG)
    finally:
        module.randn_tensor = kept
    guider, rest = CfgGuider(model, parts.positive, parts.negative, CFG), iter(drawn)
    source = GivenNoise(lambda *where: next(rest)[..., None, None])
    sigmas = schedule("simple", model.noise, STEPS)
    got = sample(guider, noise, parts.latent["samples"], solver("ddpm"), sigmas, pool=pool, source=source)
    embeds = prior_embedding(ctx, samples={"samples": got}).image_embeds
    assert embeds is not None and (embeds - captured[0]).abs().max() < CLOSE
    with pytest.raises(BadInput, match="reads 77 tokens of width 64"):
        sample(CfgGuider(model, [[torch.zeros(1, 77, 64), {}]], [], 1.0), noise, noise, solver("euler"), sigmas, pool=pool)
    save.save(tmp_path / "again.safetensors", {}, model)
    assert load_diffusion_model(tmp_path / "again.safetensors", services).sizes == model.sizes

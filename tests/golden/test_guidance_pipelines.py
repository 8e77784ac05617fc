"""Guided sampling through checkpoint, loader, pool and loop, against the diffusers pipelines of the same name with the same weights."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.pipelines.deprecated.stable_diffusion_diffedit import pipeline_stable_diffusion_diffedit
from diffusers.pipelines.deprecated.stable_diffusion_panorama import pipeline_stable_diffusion_panorama
from diffusers.pipelines.deprecated.stable_diffusion_safe import pipeline_stable_diffusion_safe
from diffusers.pipelines.deprecated.stable_diffusion_sag import pipeline_stable_diffusion_sag
from torch import Tensor

from backend.diffusion import diffedit
from backend.diffusion.guiders import BasicGuider, CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.ksample import ksample
from backend.diffusion.patches import again
from backend.diffusion.patches.safe import Strength, safe
from backend.diffusion.patches.windows import panorama
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from tests.families import kinds
from tests.families.tiny import Twins, make, services
from tests.golden import whole

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS, SEED, CFG = 4, 7, 2.0


@pytest.fixture(scope="module")
def texts() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, 77, 64, generator=generator), torch.randn(1, 77, 64, generator=generator)


@pytest.fixture(scope="module")
def tiny() -> Twins:
    return make()


@pytest.fixture(scope="module")
def model(tiny: Twins, tmp_path_factory: pytest.TempPathFactory) -> ModelHandle:
    home = tmp_path_factory.mktemp("tiny")
    found = load_checkpoint(tiny.single(home / "tiny.safetensors"), services(home)).model
    assert found is not None
    return found


def ddim(**options: Any) -> Any:
    return diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing", **options)


def ours(model: ModelHandle, texts: tuple[Tensor, Tensor], size: tuple[int, int] = (8, 8), cfg: float = CFG) -> Tensor:
    positive, negative = texts
    latent = {"samples": torch.zeros(1, 4, *size)}
    made = ksample(model, SEED, STEPS, cfg, "ddim", "simple", [[positive, {}]], [[negative, {}]], latent, pool=Pool("cpu"))
    return model.family.latent.process_in(made["samples"])


def reference(pipeline: Any, texts: tuple[Tensor, Tensor], size: tuple[int, int] = (8, 8), **options: Any) -> Tensor:
    pipeline.set_progress_bar_config(disable=True)
    noise = prepare_noise(torch.zeros(1, 4, *size), SEED)
    made: Tensor = pipeline(
        prompt_embeds=texts[0], negative_prompt_embeds=texts[1], latents=noise, guidance_scale=CFG, num_inference_steps=STEPS,
        output_type="latent", height=size[0] * 2, width=size[1] * 2, **options,
    ).images  # fmt: skip
    return made


def test_perturbed_attention(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor]) -> None:
    pipeline = diffusers.StableDiffusionPAGPipeline(
        tiny.vae, tiny.text, None, tiny.unet, ddim(), None, None, requires_safety_checker=False, pag_applied_layers=["mid"]
    )
    before = dict(tiny.unet.attn_processors)
    expected = reference(pipeline, texts, pag_scale=1.5)
    tiny.unet.set_attn_processor(before)
    got = ours(again.perturbed(model, 1.5), texts)
    assert (got - expected).abs().max() < 1e-4
    assert (got - ours(model, texts)).abs().max() > 1e-2


def test_perturbed_attention_of_sdxl(tmp_path: Path) -> None:
    twin, noise, scheduler = kinds.make("sdxl"), whole.noise_like(), whole.euler()
    found = whole.loaded(twin, tmp_path)
    assert found.model is not None
    pipeline = whole.xl(diffusers.StableDiffusionXLPAGPipeline, twin, scheduler, pag_applied_layers=["mid"])
    sizes = {"original_size": (16, 16), "target_size": (16, 16)}
    started = whole.started(noise, scheduler)
    want = pipeline(**whole.prompt(found, xl=True), **sizes, latents=started, guidance_scale=whole.CFG, pag_scale=1.5, **whole.WHOLE).images
    told = {"height": 16, "width": 16, "target_height": 16, "target_width": 16}
    got = whole.ours(again.perturbed(found.model, 1.5), *(whole.with_(c, **told) for c in whole.texts(found)), noise)
    assert (got - want).abs().max() < 1e-4


def test_self_attention(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor]) -> None:
    pipeline = pipeline_stable_diffusion_sag.StableDiffusionSAGPipeline(
        tiny.vae, tiny.text, None, tiny.unet, ddim(), None, None, requires_safety_checker=False
    )
    before = dict(tiny.unet.attn_processors)
    expected = reference(pipeline, texts, sag_scale=0.75)
    tiny.unet.set_attn_processor(before)
    got = ours(again.self_attention(model, 0.75, 1.0), texts)
    assert (got - expected).abs().max() < 1e-4
    assert (got - ours(model, texts)).abs().max() > 1e-3


@pytest.mark.parametrize("circular", [False, True])
def test_panorama(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor], circular: bool) -> None:
    pipeline = pipeline_stable_diffusion_panorama.StableDiffusionPanoramaPipeline(
        tiny.vae, tiny.text, None, tiny.unet, ddim(), None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    pipeline.get_views = functools.partial(pipeline.get_views, window_size=8, stride=2)
    noise = prepare_noise(torch.zeros(1, 4, 8, 12), SEED)
    expected = pipeline(
        prompt_embeds=texts[0], negative_prompt_embeds=texts[1], latents=noise.clone(), guidance_scale=CFG, num_inference_steps=2,
        output_type="latent", height=8 * 8, width=12 * 8, circular_padding=circular,
    ).images  # fmt: skip
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    conds = [[texts[0], {}]], [[texts[1], {}]]
    made = ksample(panorama(model, 8, 2, circular), SEED, 2, CFG, "ddim", "simple", *conds, latent, pool=Pool("cpu"))["samples"]
    assert (model.family.latent.process_in(made) - expected).abs().max() < 1e-4


def test_safe_latent_diffusion(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    concept = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(5))
    pipeline = pipeline_stable_diffusion_safe.StableDiffusionPipelineSafe(
        tiny.vae, tiny.text, None, tiny.unet, ddim(), None, None, requires_safety_checker=False
    )
    pipeline.set_progress_bar_config(disable=True)
    monkeypatch.setattr(pipeline, "_encode_prompt", lambda *a, **k: torch.cat([texts[1], texts[0], concept]))
    monkeypatch.setattr(pipeline, "decode_latents", lambda latents: latents)  # it knows no other kind of output
    settings = {"sld_guidance_scale": 900.0, "sld_warmup_steps": 1, "sld_threshold": 0.02, "sld_momentum_scale": 0.3, "sld_mom_beta": 0.4}
    expected = pipeline(
        "a", latents=prepare_noise(torch.zeros(1, 4, 8, 8), SEED), guidance_scale=CFG, num_inference_steps=STEPS, output_type="latent",
        height=16, width=16, return_dict=False, **settings,
    )[0]  # fmt: skip
    guarded = safe(model, [[concept, {}]], Strength(900.0, 0.02, 1, 0.3, 0.4))
    got = ours(guarded, texts)
    assert (got - expected).abs().max() < 1e-4
    assert (got - ours(model, texts)).abs().max() > 1e-2
    assert torch.equal(got, ours(guarded, texts))


def test_ddim_inversion(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor]) -> None:
    scheduler = diffusers.DDIMInverseScheduler(**SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="leading", steps_offset=0)
    scheduler.set_timesteps(STEPS)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    latent, bars = x, scheduler.alphas_cumprod
    levels = [0.0]
    with torch.no_grad():
        for t in scheduler.timesteps:
            eps = tiny.unet(latent, t, encoder_hidden_states=texts[0]).sample
            latent = scheduler.step(eps, t, latent).prev_sample
            levels.append(float(((1 - bars[t]) / bars[t]) ** 0.5))
    # the reference begins at its initial alpha and ends one level beyond our last: compare on its own levels
    first = float(((1 - scheduler.initial_alpha_cumprod) / scheduler.initial_alpha_cumprod) ** 0.5)
    assert first == pytest.approx(0, abs=1e-6)
    sigmas = torch.tensor(levels)
    given = model.family.latent.process_out(x)
    made = sample(BasicGuider(model, [[texts[0], {}]]), torch.zeros_like(x), given, solver("ddim_inversion"), sigmas, pool=Pool("cpu"))
    last = levels[-1]
    assert (model.family.latent.process_in(made) / (1 + last * last) ** 0.5 - latent).abs().max() < 1e-4


def test_diffedit(tiny: Twins, model: ModelHandle, texts: tuple[Tensor, Tensor]) -> None:
    target, negative = texts
    source = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(8))
    options: dict[str, Any] = {**SD, "clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "leading", "steps_offset": 1}
    pipeline = pipeline_stable_diffusion_diffedit.StableDiffusionDiffEditPipeline(
        tiny.vae, tiny.text, None, tiny.unet, diffusers.DDIMScheduler(**options), None, None, diffusers.DDIMInverseScheduler(**options),
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    given, pool = model.family.latent.process_out(x), Pool("cpu")
    guiders = [CfgGuider(model, [[text, {}]], [[negative, {}]], CFG) for text in (source, target)]
    bars = pipeline.scheduler.alphas_cumprod
    pipeline.scheduler.set_timesteps(STEPS)
    sigmas = torch.cat([((1 - bars) / bars).sqrt()[pipeline.scheduler.timesteps], torch.zeros(1)])

    expected_mask = pipeline.generate_mask(
        image=x, source_prompt_embeds=source, source_negative_prompt_embeds=negative, target_prompt_embeds=target,
        target_negative_prompt_embeds=negative, guidance_scale=CFG, num_inference_steps=STEPS, num_maps_per_mask=3, output_type="np",
        mask_encode_strength=0.5, mask_thresholding_ratio=2.0, generator=torch.Generator().manual_seed(SEED),
    )  # fmt: skip
    mask = diffedit.mask(*guiders, given, float(sigmas[2]), pool=pool, seed=SEED, maps=3, threshold=2.0)
    assert 0 < mask.mean() < 1 and (mask.numpy() == expected_mask).all()

    trail = pipeline.invert(
        prompt_embeds=source, negative_prompt_embeds=negative, image=x, guidance_scale=CFG, num_inference_steps=STEPS, inpaint_strength=1.0
    ).latents
    kept = [*trail[0, 1:], x[0]]

    def at_its_own_level(step: int, _: int, latents: Tensor) -> None:
        """The pipeline keeps the latent that the step began with, one level noisier than what it puts it beside."""
        latents.copy_(latents * mask + kept[step] * (1 - mask))

    expected = pipeline(
        prompt_embeds=target, negative_prompt_embeds=negative, mask_image=mask.clone(), image_latents=trail, guidance_scale=CFG,
        num_inference_steps=STEPS, inpaint_strength=1.0, output_type="latent", callback=at_its_own_level,
    ).images  # fmt: skip
    got = model.family.latent.process_in(diffedit.edit(*guiders, given, mask, sigmas, pool=pool))
    assert (got - expected).abs().max() < 1e-4
    outside = (1 - mask).bool().expand_as(x)
    assert (got - x)[outside].abs().max() < 1e-5 and (got - x)[~outside].abs().max() > 0.1

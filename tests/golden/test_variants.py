"""Whole sampled latents of every variant against the diffusers pipeline of the same name, with equal weights and noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from diffusers.image_processor import VaeImageProcessorLDM3D
from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider, DualCfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import schedule
from backend.encoders.clip_vision.spec import from_file
from backend.families.load import load_checkpoint
from backend.imaging.depth import join
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.conditioning import unclip_conditioning
from nodes.depth import marigold_decode, split_rgbd
from nodes.image_conditioning import (
    depth_to_image_conditioning,
    image_variation_conditioning,
    instruct_pix_to_pix_conditioning,
    latent_upscaler_conditioning,
    marigold_conditioning,
    rgbd_upscale_conditioning,
    sd_4x_upscale_conditioning,
)
from nodes.vae import inpaint_model_conditioning
from tests.families import kinds, tiny
from tests.golden.whole import (
    CFG,
    CLOSE,
    SD,
    SEED,
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
from tests.nodes.bench import Bench


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_sd2(prediction: str, tmp_path: Path) -> None:
    twin, noise = kinds.make("sd2"), noise_like()
    found = loaded(twin, tmp_path, {"v_pred": torch.zeros(0)} if prediction == "v_prediction" else None)
    scheduler = euler(prediction_type=prediction)
    pipeline = quiet(
        diffusers.StableDiffusionPipeline(twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False)
    )
    want = pipeline(**prompt(found), latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE).images
    assert (ours(found.model, *texts(found), noise) - want).abs().max() < CLOSE


@pytest.mark.parametrize("turbo", [False, True])
def test_sdxl(turbo: bool, tmp_path: Path) -> None:
    """The base model with sizes and crops; distilled ones (Turbo, Lightning, Hyper) are the same net without guidance."""
    twin, noise = kinds.make("sdxl"), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    sizes = {"original_size": (48, 32), "crops_coords_top_left": (3, 5), "target_size": (16, 24)}
    told = {"height": 48, "width": 32, "crop_h": 3, "crop_w": 5, "target_height": 16, "target_width": 24}
    negative = {f"negative_{key}": value for key, value in sizes.items()}
    cfg = 0.0 if turbo else CFG
    want = xl(diffusers.StableDiffusionXLPipeline, twin, scheduler)(
        **prompt(found, xl=True), **sizes, **negative, latents=started(noise, scheduler), guidance_scale=cfg, **WHOLE
    ).images
    got = ours(found.model, *(with_(c, **told) for c in texts(found)), noise, 1.0 if turbo else CFG)
    assert (got - want).abs().max() < CLOSE


def test_playground(tmp_path: Path) -> None:
    """SDXL's net in EDM's frame, on latents that are normalised channel by channel."""
    twin, noise = kinds.make("sdxl"), noise_like()
    found = loaded(twin, tmp_path, {"edm_mean": torch.zeros(1, 4, 1, 1), "edm_std": torch.ones(1, 4, 1, 1)})
    assert found.model is not None
    scheduler = diffusers.EDMEulerScheduler(sigma_min=0.002, sigma_max=80.0, sigma_data=0.5, sigma_schedule="karras")
    sizes = {"original_size": (16, 16), "target_size": (16, 16)}
    want = xl(diffusers.StableDiffusionXLPipeline, twin, scheduler)(
        **prompt(found, xl=True), **sizes, latents=noise, guidance_scale=CFG, **WHOLE
    ).images
    latent = found.model.family.latent
    sigmas = schedule("karras", found.model.noise, STEPS)
    guider = CfgGuider(found.model, *(with_(c, height=16, width=16) for c in texts(found)), CFG)
    got = sample(guider, noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=Pool("cpu"))
    assert (latent.process_in(got) - want).abs().max() < CLOSE


def test_sdxl_refiner_goes_on_where_the_base_stopped(tmp_path: Path) -> None:
    """The second half of a schedule, by a net with an aesthetic score."""
    twin = kinds.make("refiner")
    found, scheduler = loaded(twin, tmp_path), euler()
    assert found.model is not None
    half = torch.randn(1, 4, SIDE, SIDE, generator=torch.Generator().manual_seed(3)) * 5
    pipeline = xl(diffusers.StableDiffusionXLImg2ImgPipeline, twin, scheduler, requires_aesthetics_score=True)
    scheduler.set_timesteps(STEPS)
    start = scheduler.sigmas[2]
    timesteps = [int(t) for t in scheduler.timesteps]
    want = pipeline(
        **prompt(found, xl=True), image=half, denoising_start=1 - (timesteps[2] + 1) / 1000, guidance_scale=CFG, num_inference_steps=STEPS,
        output_type="latent", original_size=(16, 16), target_size=(16, 16),
    ).images  # fmt: skip
    sigmas = schedule("simple", found.model.noise, STEPS)[2:]
    assert sigmas[0] == pytest.approx(float(start), rel=1e-4)
    positive, negative = (with_(c, height=16, width=16) for c in texts(found))
    guider = CfgGuider(found.model, positive, negative, CFG)
    latent = found.model.family.latent.process_out(half)
    got = sample(guider, torch.zeros_like(half), latent, solver("euler"), sigmas, pool=Pool("cpu"))
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


INPAINT = {
    "sd1": diffusers.StableDiffusionInpaintPipeline,
    "sd2": diffusers.StableDiffusionInpaintPipeline,
    "sdxl": diffusers.StableDiffusionXLInpaintPipeline,
}


@pytest.mark.parametrize("kind", INPAINT)
def test_inpainting(kind: str, tmp_path: Path) -> None:
    twin, noise = kinds.make(kind, 9), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    image, mask = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1)), torch.zeros(1, 16, 16)
    mask[:, 4:12, 6:14] = 1
    named = {"image": image.movedim(-1, 1) * 2 - 1, "mask_image": mask[:, None], "strength": 1.0, "guidance_scale": CFG}
    if kind == "sdxl":
        pipeline = xl(INPAINT[kind], twin, scheduler)
        named |= {"original_size": (16, 16), "target_size": (16, 16)}
    else:
        pipeline = quiet(INPAINT[kind](twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))
    # diffusers draws the masked picture's latent; both sides take its mean here
    draw = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample
    diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    try:
        want = pipeline(**prompt(found, kind == "sdxl"), **named, latents=started(noise, scheduler), **WHOLE).images
    finally:
        diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample = draw
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    if kind == "sdxl":
        positive, negative = (with_(c, height=16, width=16) for c in (positive, negative))
    parts = inpaint_model_conditioning(ctx, positive=positive, negative=negative, vae=found.vae, pixels=image, mask=mask, noise_mask=False)
    assert (ours(found.model, parts.positive, parts.negative, noise) - want).abs().max() < CLOSE


def test_inpainting_without_a_picture_sees_the_latent_that_is_sampled(tmp_path: Path) -> None:
    """VAE Encode (for Inpainting) gives a greyed latent and a mask; both reach an inpainting net."""
    found, noise = loaded(kinds.make("sd1", 9), tmp_path), noise_like()
    positive, negative = texts(found)
    latent, mask = torch.randn(1, 4, SIDE, SIDE), torch.zeros(1, 1, SIDE * 2, SIDE * 2)
    mask[..., 4:] = 1
    told = {"concat_latent_image": latent, "concat_mask": mask}
    implied = ours(found.model, positive, negative, noise, mask=mask, latent=latent)
    said = ours(found.model, with_(positive, **told), with_(negative, **told), noise, mask=mask, latent=latent)
    assert (implied - said).abs().max() < 1e-6
    assert (implied - ours(found.model, positive, negative, noise)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["sd1", "sdxl", "cosxl"])
def test_instruct_pix2pix(kind: str, tmp_path: Path) -> None:
    cosxl = kind == "cosxl"
    is_xl = kind != "sd1"
    twin, noise = kinds.make("sdxl" if is_xl else "sd1", 8), noise_like()
    marks = {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)} if cosxl else None
    found = loaded(twin, tmp_path, marks)
    assert found.model is not None
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    scheduler = euler()
    start = started(noise, scheduler)
    if cosxl:
        scheduler = diffusers.EDMEulerScheduler(
            sigma_min=0.002, sigma_max=120.0, sigma_data=1.0, prediction_type="v_prediction", sigma_schedule="exponential"
        )
        start = started(noise, scheduler)
    more = {"image": image.movedim(-1, 1) * 2 - 1, "guidance_scale": CFG, "image_guidance_scale": 1.5, "num_inference_steps": STEPS}
    if is_xl:
        pipeline = xl(diffusers.StableDiffusionXLInstructPix2PixPipeline, twin, scheduler, is_cosxl_edit=cosxl)
        more |= {"original_size": (16, 16), "target_size": (16, 16), "width": 16, "height": 16}
    else:
        pipeline = quiet(diffusers.StableDiffusionInstructPix2PixPipeline(
            twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))  # fmt: skip
    want = pipeline(**prompt(found, is_xl), **more, latents=start, output_type="latent").images
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    if is_xl:
        positive, negative = (with_(c, height=16, width=16) for c in (positive, negative))
    parts = instruct_pix_to_pix_conditioning(ctx, positive=positive, negative=negative, vae=found.vae, pixels=image)
    assert not parts.latent["samples"].any()

    def guide(model: ModelHandle) -> Any:
        return DualCfgGuider(model, parts.positive, parts.negative, negative, CFG, 1.5)

    sigmas = scheduler.sigmas.float() if cosxl else schedule("simple", found.model.noise, STEPS)
    got = sample(guide(found.model), noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=Pool("cpu"))
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


def test_lcm(tmp_path: Path) -> None:
    """A net that is told the guidance scale, sampled without guidance."""
    twin, noise = kinds.make("lcm"), noise_like()
    found = loaded(twin, tmp_path)
    assert found.model is not None
    scheduler = diffusers.LCMScheduler(**{**SD, "timestep_spacing": "leading"}, clip_sample=False, set_alpha_to_one=True)
    pipeline = quiet(diffusers.LatentConsistencyModelPipeline(
        twin.vae, None, None, twin.unet, scheduler, None, None, requires_safety_checker=False))  # fmt: skip
    drawn: list[Tensor] = []
    fresh = torch.Generator().manual_seed(5)

    def draw(shape: Any, **kwargs: Any) -> Tensor:
        drawn.append(torch.randn(shape, generator=fresh))
        return drawn[-1]

    module = __import__("diffusers.schedulers.scheduling_lcm", fromlist=["randn_tensor"])
    kept, module.randn_tensor = module.randn_tensor, draw
    try:
        named = {"prompt_embeds": prompt(found)["prompt_embeds"], "guidance_scale": 6.0}
        want = pipeline(**named, latents=noise, original_inference_steps=50, **WHOLE).images
    finally:
        module.randn_tensor = kept
    positive, _ = texts(found)
    numbers = iter(drawn)
    sigmas = schedule("simple", found.model.noise, STEPS)
    guider = CfgGuider(found.model, with_(positive, guidance=6.0), positive, 1.0)
    got = sample(
        guider, noise, torch.zeros_like(noise), solver("lcm"), sigmas, pool=Pool("cpu"), source=GivenNoise(lambda *where: next(numbers))
    )
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


def test_depth_to_image(tmp_path: Path) -> None:
    twin = kinds.make("sd2", 5)
    found, scheduler = loaded(twin, tmp_path), euler()
    depth = torch.rand(1, SIDE, SIDE, 1, generator=torch.Generator().manual_seed(2))
    pipeline = quiet(diffusers.StableDiffusionDepth2ImgPipeline(twin.vae, None, None, twin.unet, scheduler, None, None))  # type: ignore[arg-type]
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1
    noise = noise_like()
    module = __import__("diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_depth2img", fromlist=["randn_tensor"])
    kept, module.randn_tensor = module.randn_tensor, lambda shape, **kwargs: noise
    draw = diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample
    diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample = lambda self, generator=None: self.mode()
    try:
        want = pipeline(
            **prompt(found), image=image, depth_map=depth[..., 0], strength=0.75, guidance_scale=CFG, num_inference_steps=STEPS,
            output_type="latent",
        ).images  # fmt: skip
    finally:
        module.randn_tensor = kept
        diffusers.models.autoencoders.vae.DiagonalGaussianDistribution.sample = draw
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    parts = depth_to_image_conditioning(ctx, positive=positive, negative=negative, depth=depth)
    assert found.model is not None and found.vae is not None
    latent = found.vae.encode(image.movedim(1, -1) / 2 + 0.5, Pool("cpu"))
    sigmas = schedule("simple", found.model.noise, STEPS)[1:]
    got = sample(CfgGuider(found.model, parts.positive, parts.negative, CFG), noise, latent, solver("euler"), sigmas, pool=Pool("cpu"))
    assert (found.model.family.latent.process_in(got) - want).abs().max() < CLOSE


def test_marigold(tmp_path: Path) -> None:
    twin, noise = kinds.make("sd2", 8), noise_like()
    found = loaded(twin, tmp_path)
    assert found.model is not None and found.vae is not None and found.clip is not None
    scheduler = diffusers.DDIMScheduler(**SD, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=True)
    pipeline = quiet(diffusers.MarigoldDepthPipeline(twin.unet, twin.vae, scheduler, None, None, default_processing_resolution=0))
    pool, ctx = Pool("cpu"), Bench(tmp_path / "home").context()
    empty = found.clip.conditioning("", pool)
    pipeline.empty_text_embedding = empty[0][0]
    image = torch.rand(1, 16, 16, 3, generator=torch.Generator().manual_seed(1))
    out = pipeline(
        image.movedim(-1, 1), num_inference_steps=STEPS, processing_resolution=0, latents=noise, output_latent=True, output_type="np"
    )
    conditioning, latent = marigold_conditioning(ctx, conditioning=empty, vae=found.vae, pixels=image)
    guider = CfgGuider(found.model, conditioning, conditioning, 1.0)
    sigmas = schedule("simple", found.model.noise, STEPS)
    got = sample(guider, noise, latent["samples"], solver("ddim"), sigmas, pool=pool)
    assert (found.model.family.latent.process_in(got) - out.latent).abs().max() < CLOSE
    depth = marigold_decode(ctx, image=found.vae.decode(got, pool), kind="depth")
    off = (depth[0, ..., 0] - torch.from_numpy(out.prediction)[0, ..., 0]).abs()
    assert depth.shape == (1, 16, 16, 3) and (off < 1e-5).float().mean() > 0.9, "only colours beyond black and white differ"
    normals = marigold_decode(ctx, image=found.vae.decode(got, pool), kind="normals")
    assert ((normals * 2 - 1).norm(dim=-1) - 1).abs().max() < 1e-4


@pytest.mark.parametrize("level", [0, 500])
def test_unclip(level: int, tmp_path: Path) -> None:
    """An encoded picture, noised to a level, as the vector condition."""
    twin, noise = kinds.make("unclip"), noise_like()
    mean, deviation = torch.randn(1, 32, generator=torch.Generator().manual_seed(4)), torch.rand(1, 32) + 0.5
    found = loaded(twin, tmp_path, {"noise_augmentor.data_mean": mean[0], "noise_augmentor.data_std": deviation[0]})
    assert found.model is not None and found.model.family.name == "Stable Diffusion 2 unCLIP" and found.vision is not None
    scheduler = euler()
    normalizer = StableUnCLIPImageNormalizer(32)
    normalizer.load_state_dict({"mean": mean, "std": deviation})
    noising = diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2")
    pipeline = quiet(diffusers.StableUnCLIPImg2ImgPipeline(
        None, twin.vision, normalizer, noising, None, None, twin.unet, scheduler, twin.vae))  # fmt: skip
    picture = found.vision.encode_image(torch.rand(1, 28, 28, 3), Pool("cpu"))
    embeds = picture.image_embeds
    assert embeds is not None
    want = pipeline(
        **prompt(found), image_embeds=embeds, noise_level=level, generator=torch.Generator().manual_seed(SEED - 10 + (1 << 64)),
        latents=started(noise, scheduler) * float(scheduler.init_noise_sigma), guidance_scale=CFG, **WHOLE,
    ).images  # fmt: skip
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    told = unclip_conditioning(ctx, conditioning=positive, clip_vision_output=picture, strength=1.0, noise_augmentation=level / 999)
    assert (ours(found.model, told, negative, noise) - want).abs().max() < CLOSE


def test_unclip_folder_keeps_its_normalizer_apart(tmp_path: Path) -> None:
    twin = kinds.make("unclip")
    folder = twin.folder(tmp_path / "m")
    (folder / "image_normalizer").mkdir()
    values = {"mean": torch.ones(1, 32), "std": torch.full((1, 32), 2.0)}
    save_safetensors(folder / "image_normalizer" / "diffusion_pytorch_model.safetensors", values)
    found = load_checkpoint(folder, tiny.services(tmp_path))
    assert found.model is not None and found.model.family.name == "Stable Diffusion 2 unCLIP" and found.vision is not None
    assert found.model.sizes.mean == (1.0,) * 32 and found.model.sizes.deviation == (2.0,) * 32
    assert found.model.spellings()["label_emb.0.0.weight"] == "class_embedding.linear_1.weight"


def test_x4_upscaler(tmp_path: Path) -> None:
    twin, noise = kinds.make("x4"), noise_like()
    found = loaded(twin, tmp_path)
    assert found.model is not None and found.model.family.name == "Stable Diffusion x4 upscaler"
    assert found.model.sizes.cross_only == (False, True) and found.model.sizes.classes == 1000
    wide = {"beta_start": 0.0001, "beta_end": 0.02}
    scheduler, low = euler(**wide, prediction_type="v_prediction"), diffusers.DDPMScheduler(**wide, beta_schedule="scaled_linear")
    pipeline = quiet(diffusers.StableDiffusionUpscalePipeline(twin.vae, None, None, twin.unet, low, scheduler))  # type: ignore[arg-type]
    image = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(1))
    want = pipeline(
        **prompt(found), image=image.movedim(-1, 1) * 2 - 1, noise_level=20, generator=torch.Generator().manual_seed(SEED - 10 + (1 << 64)),
        latents=started(noise, scheduler), guidance_scale=CFG, num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    parts = sd_4x_upscale_conditioning(
        ctx, images=image, positive=positive, negative=negative, scale_ratio=4.0, noise_augmentation=20 / 350
    )
    assert parts.latent["samples"].shape == noise.shape
    assert (ours(found.model, parts.positive, parts.negative, noise) - want).abs().max() < CLOSE


@pytest.mark.parametrize("side", [8, 5])
def test_x2_latent_upscaler(side: int, tmp_path: Path) -> None:
    """Whole latents, and one call of the net at a size that does not halve evenly, which diffusers cannot."""
    twin = kinds.make("x2")
    found = load_checkpoint(twin.folder(tmp_path / "m"), tiny.services(tmp_path))
    assert found.model is not None and found.model.family.name == "Stable Diffusion x2 latent upscaler" and found.clip is not None
    assert found.model.sizes.attends == (False, True, True, True) and found.model.sizes.condition == 192
    ctx = Bench(tmp_path / "home").context()
    low = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(1))
    parts = latent_upscaler_conditioning(ctx, clip=found.clip, samples={"samples": low}, text="a red cat", negative="blurry")
    noise = prepare_noise(parts.latent["samples"], SEED)
    got = ours(found.model, parts.positive, parts.negative, noise)
    assert got.shape == (1, 4, 2 * side, 2 * side) and got.isfinite().all()
    if side == 5:
        return
    text, chunks = twin.texts["text_encoder"], [found.clip.tokenize(prompt)["l"][0] for prompt in ("a red cat", "blurry")]
    with torch.no_grad():
        said = [text(torch.tensor([[token for token, _ in chunk]]), output_hidden_states=True) for chunk in chunks]
    scheduler = euler(prediction_type="sample")
    pipeline = quiet(diffusers.StableDiffusionLatentUpscalePipeline(twin.vae, None, None, twin.unet, scheduler))
    want = pipeline(
        prompt_embeds=said[0].hidden_states[-1], negative_prompt_embeds=said[1].hidden_states[-1], guidance_scale=CFG,
        pooled_prompt_embeds=said[0].pooler_output, negative_pooled_prompt_embeds=said[1].pooler_output,
        image=found.model.family.latent.process_in(low), latents=started(noise, scheduler), num_inference_steps=STEPS, output_type="latent",
    ).images  # fmt: skip
    assert (got - want).abs().max() < CLOSE


@pytest.mark.parametrize("channels", [4, 6])
def test_ldm3d_upscaler(channels: int, tmp_path: Path) -> None:
    """LDM3D-SR, whose pipeline diffusers does not ship: its parts, in a loop of our own."""
    twin = kinds.make("sd1", 8)
    found, scheduler = loaded(kinds.Kind(twin.unet, kinds.vae(in_channels=channels), twin.texts, twin.prefixes), tmp_path), euler()
    image, depth = (torch.rand(1, 4, 4, 3, generator=torch.Generator().manual_seed(n)) for n in (1, 2))
    ctx, (positive, negative) = Bench(tmp_path / "home").context(), texts(found)
    assert found.vae is not None and found.model is not None
    parts = rgbd_upscale_conditioning(ctx, positive=positive, negative=negative, vae=found.vae, image=image, depth=depth, scale=4.0)
    shown = parts.positive[0][1]["concat_latent_image"]
    noise = noise_like()
    assert shown.shape == noise.shape == parts.latent["samples"].shape
    got = ours(found.model, parts.positive, parts.negative, noise)
    x = started(noise, scheduler) * scheduler.init_noise_sigma
    text = torch.cat([negative[0][0], positive[0][0]])
    for t in scheduler.timesteps:
        seen = torch.cat([torch.cat([scheduler.scale_model_input(x, t), shown], dim=1)] * 2)
        with torch.no_grad():
            without, with_text = twin.unet(seen, t, text).sample.chunk(2)
        x = scheduler.step(without + CFG * (with_text - without), t, x).prev_sample
    assert (got - x).abs().max() < CLOSE
    joined = join(image, depth, channels)
    assert (split_rgbd(ctx, image=joined).depth[..., :1] - depth.mean(-1, keepdim=True)).abs().max() < 1e-4
    plain = load_checkpoint(twin.single(tmp_path / "plain.safetensors"), tiny.services(tmp_path)).vae
    with pytest.raises(BadInput, match="3 channels, without depth"):
        rgbd_upscale_conditioning(ctx, positive=positive, negative=negative, vae=plain, image=image, depth=depth)


def test_image_variation(tmp_path: Path) -> None:
    """A model that hears an encoded picture where others hear a prompt."""
    twin, noise = kinds.make("sd1"), noise_like()
    found, scheduler = loaded(twin, tmp_path), euler()
    vision = kinds.vision(64)
    vision.save_pretrained(tmp_path / "vision")
    encoder = from_file(open_weights(tmp_path / "vision"))
    assert encoder is not None
    pixels = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1))
    pipeline = quiet(diffusers.StableDiffusionImageVariationPipeline(
        twin.vae, vision, twin.unet, scheduler, None, None, requires_safety_checker=False))  # fmt: skip
    want = pipeline(pixels, latents=started(noise, scheduler), guidance_scale=CFG, **WHOLE).images
    with torch.no_grad():
        embeds = vision(pixels).image_embeds
    output = type("Output", (), {"image_embeds": embeds})()
    parts = image_variation_conditioning(Bench(tmp_path / "home").context(), clip_vision_output=output)
    assert (ours(found.model, parts.positive, parts.negative, noise) - want).abs().max() < CLOSE


@pytest.mark.parametrize("channels", [4, 6])
def test_ldm3d(channels: int, tmp_path: Path) -> None:
    """A picture and its depth out of one latent."""
    twin = kinds.make("sd1")
    vae = kinds.vae(in_channels=channels, out_channels=channels)
    found = loaded(kinds.Kind(twin.unet, vae, twin.texts, twin.prefixes), tmp_path)
    assert found.vae is not None
    latent = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1)) * 3
    decoded = found.vae.decode(latent, Pool("cpu"))
    assert decoded.shape == (1, 8, 8, channels)
    assert (found.vae.encode(decoded, Pool("cpu")) - vae.encode(decoded.movedim(-1, 1) * 2 - 1).latent_dist.mean).abs().max() < 1e-4
    image, depth = split_rgbd(Bench(tmp_path / "home").context(), image=decoded)
    with torch.no_grad():
        raw = vae.decode(latent).sample
    pixels = (raw / 2 + 0.5).clamp(0, 1)[0].movedim(0, -1)
    assert (image[0] - pixels[..., :3]).abs().max() < 1e-5
    bytes_ = (pixels[..., 3:] * 255).round().numpy().astype("int32")  # it cuts the result to what it is given
    want = (
        torch.from_numpy(VaeImageProcessorLDM3D.rgblike_to_depthmap(bytes_).astype("float32")) / 65535 if channels == 6 else pixels[..., 3]
    )
    off = (depth[0, ..., 0] - want).abs()
    assert off.median() < 1e-5, "rounding may tip a byte"

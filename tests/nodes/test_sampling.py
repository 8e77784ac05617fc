"""Sampling nodes end to end on a tiny random model, held against the reference net driven by formulas written out here."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from backend.base.config import Settings
from backend.base.errors import BadInput, Interrupted, NotInstalled
from backend.diffusion.guiders import Guidance
from nodes import (
    conditioning,
    custom_sampling,
    latent,
    latent_advanced,
    loaders,
    model_advanced,
    samplers,
    sampling,
    schedulers,
    sigmas,
    vae,
)
from tests.families import tiny
from tests.nodes.bench import Bench


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("sampling")
    (home / "models" / "checkpoints").mkdir(parents=True)
    tiny.make().single(home / "models" / "checkpoints" / "tiny.safetensors")
    return home


@pytest.fixture
def bench(home: Path) -> Bench:
    return Bench(home)


@pytest.fixture
def parts(bench: Bench) -> Any:
    return loaders.checkpoint_loader_simple(bench.context(), ckpt_name="tiny.safetensors")


@pytest.fixture
def prompts(bench: Bench, parts: Any) -> dict[str, Any]:
    def encode(text: str) -> Any:
        return conditioning.clip_text_encode(bench.context(), text=text, clip=parts.CLIP)

    return {"positive": encode("a red cat"), "negative": encode("")}


EMPTY = {"samples": torch.zeros(2, 4, 8, 8)}
ALPHAS = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
SIGMAS = ((1 - ALPHAS) / ALPHAS).sqrt()


def reference_x0(x: torch.Tensor, sigma: float, prompts: dict[str, Any], cfg: float) -> torch.Tensor:
    """Guided x0 of the reference net: eps prediction, nearest trained timestep, input scaled to unit variance."""
    t = int((SIGMAS.log() - torch.tensor(sigma).log()).abs().argmin())
    eps = []
    for role in ("positive", "negative"):
        context = prompts[role][0][0].expand(x.shape[0], -1, -1)
        eps.append(tiny.make().unet(x / (sigma**2 + 1) ** 0.5, t, context).sample)
    return x - sigma * (eps[1] + cfg * (eps[0] - eps[1]))


@torch.no_grad()
def reference_euler(seed: int, steps: int, cfg: float, prompts: dict[str, Any]) -> torch.Tensor:
    low, high = float(SIGMAS[0]) ** (1 / 7), float(SIGMAS[-1]) ** (1 / 7)
    grid = [(high + i / (steps - 1) * (low - high)) ** 7 for i in range(steps)] + [0.0]
    torch.manual_seed(seed)
    x = torch.randn(2, 4, 8, 8) * (1 + grid[0] ** 2) ** 0.5
    for s, s_next in pairwise(grid):
        x0 = reference_x0(x, s, prompts, cfg)
        x = x0 + (x - x0) * (s_next / s)
    return x / 0.18215


def ksample(bench: Bench, parts: Any, prompts: dict[str, Any], **more: Any) -> torch.Tensor:
    inputs = {
        "model": parts.MODEL, "seed": 5, "steps": 6, "cfg": 4.0, "sampler_name": "euler", "scheduler": "karras", "latent_image": EMPTY,
        "denoise": 1.0, **prompts, **more,
    }  # fmt: skip
    samples: torch.Tensor = sampling.ksampler(bench.context(), **inputs)["samples"]
    return samples


def test_ksampler_against_the_reference(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    expected = reference_euler(5, 6, 4.0, prompts)
    assert (ksample(bench, parts, prompts) - expected).abs().max() < 1e-4 * expected.abs().max()


def test_ksampler_reports_steps_with_pictures(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ksample(bench, parts, prompts)
    steps = bench.steps()
    assert [(s.value, s.total) for s in steps] == [(i, 6) for i in range(1, 7)]
    assert steps[2].preview is not None
    kind, data = steps[2].preview.encode()
    assert kind == "jpeg" and Image.open(io.BytesIO(data)).size == (512, 512)


def test_previews_can_be_switched_off(home: Path, parts: Any, prompts: dict[str, Any]) -> None:
    bench = Bench(home, Settings(preview_method="none"))
    ksample(bench, parts, prompts, steps=2)
    assert [s.preview for s in bench.steps()] == [None, None]


def test_cancelling_stops_at_the_next_step(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    bench.cancelled = lambda: len(bench.steps()) >= 2
    with pytest.raises(Interrupted):
        ksample(bench, parts, prompts)
    assert len(bench.steps()) == 2


def test_no_denoising_gives_the_latent_back(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    given = {"samples": torch.randn(1, 4, 8, 8)}
    assert torch.equal(ksample(bench, parts, prompts, latent_image=given, denoise=0.0), given["samples"])


def test_mask_keeps_the_rest(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    given = {"samples": torch.randn(1, 4, 8, 8)}
    masked = latent.set_latent_noise_mask(bench.context(), samples=given, mask=mask)
    out = ksample(bench, parts, prompts, latent_image=masked)
    assert torch.allclose(out[..., :4], given["samples"][..., :4], atol=1e-5)
    assert not torch.allclose(out[..., 4:], given["samples"][..., 4:], atol=1e-2)


def test_latent_from_batch_makes_the_same_picture_alone(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    whole = ksample(bench, parts, prompts)
    second = latent.latent_from_batch(bench.context(), samples=EMPTY, batch_index=1, length=1)
    assert torch.allclose(ksample(bench, parts, prompts, latent_image=second), whole[1:], atol=1e-3)


def advanced(bench: Bench, parts: Any, prompts: dict[str, Any], **more: Any) -> dict[str, Any]:
    inputs = {
        "model": parts.MODEL, "add_noise": "enable", "noise_seed": 5, "steps": 6, "cfg": 4.0, "sampler_name": "euler",
        "scheduler": "karras", "latent_image": EMPTY, "start_at_step": 0, "end_at_step": 10000, "return_with_leftover_noise": "disable",
        **prompts, **more,
    }  # fmt: skip
    out: dict[str, Any] = sampling.ksampler_advanced(bench.context(), **inputs)
    return out


def test_two_halves_make_a_whole(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    whole = ksample(bench, parts, prompts)
    assert torch.allclose(advanced(bench, parts, prompts)["samples"], whole, atol=1e-4)
    half = advanced(bench, parts, prompts, end_at_step=3, return_with_leftover_noise="enable")
    assert bench.steps()[-1].total == 3
    rest = advanced(bench, parts, prompts, add_noise="disable", latent_image=half, start_at_step=3)
    assert torch.allclose(rest["samples"], whole, atol=1e-3)
    ended = advanced(bench, parts, prompts, end_at_step=3)["samples"]
    assert not torch.allclose(ended, half["samples"], atol=1e-2)


def test_custom_sampling_is_ksampler_in_parts(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx, whole = bench.context(), ksample(bench, parts, prompts)
    schedule = schedulers.basic_scheduler(ctx, model=parts.MODEL, scheduler="karras", steps=6, denoise=1.0)
    solver = samplers.ksampler_select(ctx, sampler_name="euler")
    simple = custom_sampling.sampler_custom(
        ctx, model=parts.MODEL, add_noise=True, noise_seed=5, cfg=4.0, sampler=solver, sigmas=schedule, latent_image=EMPTY, **prompts
    )
    guider = custom_sampling.cfg_guider(ctx, model=parts.MODEL, cfg=4.0, **prompts)
    full = custom_sampling.sampler_custom_advanced(
        ctx, noise=custom_sampling.random_noise(ctx, noise_seed=5), guider=guider, sampler=solver, sigmas=schedule, latent_image=EMPTY
    )
    for result in (simple, full):
        assert torch.equal(result.output["samples"], whole)
        assert torch.allclose(result.denoised_output["samples"], whole, atol=1e-4)  # the last step ends at the clean estimate


def test_denoised_output_of_an_unfinished_sampling(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx = bench.context()
    schedule = torch.tensor([14.0, 5.0, 3.0])
    out = custom_sampling.sampler_custom(
        ctx, model=parts.MODEL, add_noise=True, noise_seed=5, cfg=4.0, sampler=samplers.ksampler_select(ctx, sampler_name="euler"),
        sigmas=schedule, latent_image=EMPTY, **prompts,
    )  # fmt: skip
    with torch.no_grad():
        torch.manual_seed(5)
        x = torch.randn(2, 4, 8, 8) * 14.0
        x = reference_x0(x, 14.0, prompts, 4.0) * (1 - 5 / 14) + x * (5 / 14)
        clean = reference_x0(x, 5.0, prompts, 4.0)
    assert torch.allclose(out.denoised_output["samples"], clean / 0.18215, atol=2e-3)
    assert not torch.allclose(out.output["samples"], clean / 0.18215, atol=1e-1)


def test_an_empty_schedule_gives_the_latent_back(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx = bench.context()
    out = custom_sampling.sampler_custom(
        ctx, model=parts.MODEL, add_noise=True, noise_seed=5, cfg=4.0, sampler=samplers.ksampler_select(ctx, sampler_name="euler"),
        sigmas=torch.empty(0), latent_image=EMPTY, **prompts,
    )  # fmt: skip
    assert torch.equal(out.output["samples"], EMPTY["samples"]) and torch.equal(out.denoised_output["samples"], EMPTY["samples"])


def test_guiders(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx = bench.context()
    solver, schedule = samplers.ksampler_select(ctx, sampler_name="euler"), torch.tensor([14.0, 5.0, 0.0])

    def run(guider: Any) -> torch.Tensor:
        noise = custom_sampling.random_noise(ctx, noise_seed=5)
        out: torch.Tensor = custom_sampling.sampler_custom_advanced(
            ctx, noise=noise, guider=guider, sampler=solver, sigmas=schedule, latent_image=EMPTY
        ).output["samples"]
        return out

    p, n = prompts["positive"], prompts["negative"]
    plain = run(custom_sampling.basic_guider(ctx, model=parts.MODEL, conditioning=p))
    assert torch.allclose(plain, run(custom_sampling.cfg_guider(ctx, model=parts.MODEL, positive=p, negative=n, cfg=1.0)), atol=1e-4)
    guided = run(custom_sampling.cfg_guider(ctx, model=parts.MODEL, positive=p, negative=n, cfg=4.0))
    for style in ("regular", "nested"):  # with equal second condition and negative, both reduce to one guidance
        dual = custom_sampling.dual_cfg_guider(
            ctx, model=parts.MODEL, cond1=p, cond2=n, negative=n, cfg_conds=4.0, cfg_cond2_negative=1.0, style=style
        )
        assert torch.allclose(run(dual), guided, atol=1e-3)
    perp = custom_sampling.perp_neg_guider(ctx, model=parts.MODEL, positive=p, negative=n, empty_conditioning=n, cfg=4.0, neg_scale=1.0)
    assert torch.allclose(run(perp), guided, atol=1e-3)  # an empty negative has nothing to push away


SOLVERS = [
    samplers.sampler_euler_ancestral, samplers.sampler_euler_ancestral_cfg_pp, samplers.sampler_lms, samplers.sampler_dpmpp_3m_sde,
    samplers.sampler_dpmpp_2m_sde, samplers.sampler_dpmpp_sde, samplers.sampler_dpmpp_2s_ancestral, samplers.sampler_dpm_adaptive,
    samplers.sampler_er_sde, samplers.sampler_sa_solver, samplers.sampler_pndm, samplers.sampler_tcd, samplers.sampler_euler_cfg_pp,
]  # fmt: skip


@pytest.mark.parametrize("make", SOLVERS)
def test_every_solver_node_samples_with_its_defaults(bench: Bench, parts: Any, prompts: dict[str, Any], make: Any) -> None:
    ctx = bench.context()
    inputs: dict[str, Any] = {}
    for declared in make.node_type.inputs:
        if declared.name == "model":
            inputs["model"] = parts.MODEL
        elif isinstance(declared.kind, tuple):
            inputs[declared.name] = declared.kind[-1]
        elif "options" in (declared.options or {}):
            inputs[declared.name] = declared.options["options"][0]
        elif declared.kind == "BOOLEAN":
            inputs[declared.name] = False
    result = custom_sampling.sampler_custom(
        ctx, model=parts.MODEL, add_noise=True, noise_seed=5, cfg=2.0, sampler=make(ctx, **inputs),
        sigmas=schedulers.karras_scheduler(ctx, steps=4), latent_image={"samples": torch.zeros(1, 4, 4, 4)}, **prompts,
    )  # fmt: skip
    assert result.output["samples"].isfinite().all() and result.output["samples"].std() > 0
    values = [s.value for s in bench.steps()]
    assert values == sorted(values) and values[-1] <= bench.steps()[-1].total


def test_options_reach_the_solver(bench: Bench, parts: Any) -> None:
    ctx = bench.context()
    assert samplers.sampler_euler_ancestral(ctx, eta=0.5, s_noise=0.9).options == {"eta": 0.5, "s_noise": 0.9}
    assert samplers.sampler_dpmpp_2m_sde(ctx, solver_type="heun", eta=1.0, s_noise=1.0, noise_device="gpu").name == "dpmpp_2m_sde_gpu"
    assert samplers.sampler_dpmpp_3m_sde(ctx, eta=1.0, s_noise=1.0, noise_device="cpu").name == "dpmpp_3m_sde"
    with pytest.raises(BadInput, match="r is 0"):
        samplers.sampler_dpmpp_sde(ctx, eta=1.0, s_noise=1.0, r=0.0, noise_device="cpu")


def test_schedules(bench: Bench, parts: Any) -> None:
    ctx, model = bench.context(), parts.MODEL
    whole = schedulers.basic_scheduler(ctx, model=model, scheduler="normal", steps=10, denoise=1.0)
    assert abs(float(whole[0]) - float(SIGMAS[-1])) < 1e-3 and len(whole) == 11 and whole[-1] == 0
    part = schedulers.basic_scheduler(ctx, model=model, scheduler="normal", steps=5, denoise=0.5)
    assert torch.equal(part, whole[5:])
    assert len(schedulers.basic_scheduler(ctx, model=model, scheduler="normal", steps=5, denoise=0.0)) == 0
    karras = schedulers.karras_scheduler(ctx, steps=3, sigma_max=8.0, sigma_min=2.0, rho=3.0)
    assert torch.allclose(karras, torch.tensor([8.0, ((2 + 2 ** (1 / 3)) / 2) ** 3, 2.0, 0.0]))
    exponential = schedulers.exponential_scheduler(ctx, steps=3, sigma_max=8.0, sigma_min=2.0)
    assert torch.allclose(exponential, torch.tensor([8.0, 4.0, 2.0, 0.0]))
    turbo = schedulers.sd_turbo_scheduler(ctx, model=model, steps=2, denoise=1.0)
    assert torch.allclose(turbo, torch.tensor([float(SIGMAS[999]), float(SIGMAS[899]), 0.0]))
    trailing = schedulers.timestep_spacing_scheduler(ctx, model=model, steps=4, spacing="trailing")
    assert torch.allclose(trailing, torch.tensor([*(float(SIGMAS[t]) for t in (999, 749, 499, 249)), 0.0]))
    assert len(schedulers.align_your_steps_scheduler(ctx, model_type="SD1", steps=10, denoise=1.0)) == 11
    for make, inputs in (
        (schedulers.polyexponential_scheduler, {}), (schedulers.laplace_scheduler, {}), (schedulers.vp_scheduler, {}),
        (schedulers.beta_sampling_scheduler, {"model": model}), (schedulers.lu_lambdas_scheduler, {"model": model}),
    ):  # fmt: skip
        made = make(ctx, steps=8, **inputs)
        assert (made[:-1] >= made[1:]).all() and made[0] > 1


def test_editing_sigmas(bench: Bench, parts: Any) -> None:
    ctx, given = bench.context(), torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    assert [t.tolist() for t in sigmas.split_sigmas(ctx, sigmas=given, step=2)] == [[8, 4, 2], [2, 1, 0]]
    assert [t.tolist() for t in sigmas.split_sigmas_denoise(ctx, sigmas=given, denoise=0.5)] == [[8, 4, 2], [2, 1, 0]]
    flipped = sigmas.flip_sigmas(ctx, sigmas=given)
    assert flipped[1:].tolist() == [1, 2, 4, 8] and 0 < flipped[0] < 0.001
    assert sigmas.set_first_sigma(ctx, sigmas=given, sigma=99.0).tolist() == [99, 4, 2, 1, 0] and given[0] == 8
    assert sigmas.set_first_sigma(ctx, sigmas=torch.empty(0), sigma=99.0).tolist() == []
    longer = sigmas.extend_intermediate_sigmas(ctx, sigmas=given, steps=2, start_at_sigma=-1.0, end_at_sigma=3.0, spacing="linear")
    assert longer.tolist() == [8, 6, 4, 3, 2, 1, 0]

    def at(percent: float, actual: bool) -> float:
        found: float = sigmas.sampling_percent_to_sigma(ctx, model=parts.MODEL, sampling_percent=percent, return_actual_sigma=actual)
        return found

    assert abs(at(0.0, True) - float(SIGMAS[-1])) < 1e-3 and at(0.0, False) > 1e6
    assert abs(at(1.0, True) - float(SIGMAS[0])) < 1e-5 and at(1.0, False) == 0
    assert abs(at(0.5, True) - float((SIGMAS[499] * SIGMAS[500]).sqrt())) < 1e-3


def test_add_noise(bench: Bench, parts: Any) -> None:
    ctx, given = bench.context(), {"samples": torch.randn(1, 4, 8, 8)}
    unit = torch.randn(1, 4, 8, 8, generator=torch.manual_seed(3))
    maker = custom_sampling.random_noise(ctx, noise_seed=3)
    for schedule, amount in (([6.0, 3.0, 1.0], 5.0), ([6.0], 6.0)):
        out = custom_sampling.add_noise(ctx, model=parts.MODEL, noise=maker, sigmas=torch.tensor(schedule), latent_image=given)["samples"]
        assert torch.allclose(out, given["samples"] + unit * amount / 0.18215, atol=1e-4)
    same = custom_sampling.add_noise(
        ctx, model=parts.MODEL, noise=custom_sampling.disable_noise(ctx), sigmas=torch.tensor([6.0]), latent_image=given
    )
    assert torch.allclose(same["samples"], given["samples"], atol=1e-5)
    assert custom_sampling.add_noise(ctx, model=parts.MODEL, noise=maker, sigmas=torch.empty(0), latent_image=given) is given


def test_vae_against_the_reference(bench: Bench, parts: Any) -> None:
    ctx, reference = bench.context(), tiny.make().vae
    latents, pixels = torch.randn(2, 4, 6, 5), torch.rand(1, 12, 14, 4)
    with torch.no_grad():
        decoded = (reference.decode(latents).sample / 2 + 0.5).clamp(0, 1).movedim(1, -1)
        encoded = reference.encode(pixels[..., :3].movedim(-1, 1) * 2 - 1).latent_dist.mean
    assert torch.allclose(vae.vae_decode(ctx, samples={"samples": latents}, vae=parts.VAE), decoded, atol=1e-5)
    assert torch.allclose(vae.vae_encode(ctx, pixels=pixels, vae=parts.VAE)["samples"], encoded, atol=1e-5)


def test_tiles_that_cover_everything_change_nothing(bench: Bench, parts: Any) -> None:
    ctx, latents = bench.context(), torch.randn(1, 4, 16, 16)
    whole = vae.vae_decode(ctx, samples={"samples": latents}, vae=parts.VAE)
    tiled = vae.vae_decode_tiled(ctx, samples={"samples": latents}, vae=parts.VAE, tile_size=64, overlap=64)
    assert torch.allclose(tiled, whole, atol=1e-5)
    again = vae.vae_encode_tiled(ctx, pixels=whole, vae=parts.VAE, tile_size=64, overlap=0)["samples"]
    assert torch.allclose(again, vae.vae_encode(ctx, pixels=whole, vae=parts.VAE)["samples"], atol=1e-5)


def test_inpainting(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx, pixels = bench.context(), torch.rand(1, 17, 16, 3)
    mask = torch.zeros(1, 17, 16)
    mask[:, 4:8, 4:8] = 1
    grey = pixels[:, :16].clone()
    grey[:, 4:8, 4:8] = 0.5
    expected = vae.vae_encode(ctx, pixels=grey, vae=parts.VAE)["samples"]
    out = vae.vae_encode_for_inpaint(ctx, pixels=pixels, vae=parts.VAE, mask=mask, grow_mask_by=6)
    assert torch.allclose(out["samples"], expected, atol=1e-5)
    assert out["noise_mask"].shape == (1, 1, 16, 16) and out["noise_mask"].sum() == 9 * 9
    full = vae.inpaint_model_conditioning(ctx, vae=parts.VAE, pixels=pixels, mask=mask, noise_mask=True, **prompts)
    for side in (full.positive, full.negative):
        assert torch.allclose(side[0][1]["concat_latent_image"], expected, atol=1e-5)
        assert torch.equal(side[0][1]["concat_mask"][:, 0], mask[:, :16])
    assert torch.equal(full.latent["noise_mask"][:, 0], mask[:, :16])
    whole = vae.vae_encode(ctx, pixels=pixels[:, :16], vae=parts.VAE)["samples"]
    assert torch.allclose(full.latent["samples"], whole, atol=1e-5)
    bare = vae.inpaint_model_conditioning(ctx, vae=parts.VAE, pixels=pixels, mask=mask, noise_mask=False, **prompts)
    assert "noise_mask" not in bare.latent and "concat_mask" not in prompts["positive"][0][1]


def test_gligen_boxes_add_up(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    def box(to: Any, x: int) -> Any:
        return conditioning.gligen_text_box_apply(
            bench.context(), conditioning_to=to, clip=parts.CLIP, gligen_textbox_model="model", text="cat", width=64, height=32, x=x, y=8
        )

    kind, model, boxes = box(box(prompts["positive"], 16), 24)[0][1]["gligen"]
    pooled = conditioning.clip_text_encode(bench.context(), text="cat", clip=parts.CLIP)[0][1]["pooled_output"]
    assert (kind, model) == ("position", "model") and [b[1:] for b in boxes] == [(4, 8, 1, 2), (4, 8, 1, 3)]
    assert torch.equal(boxes[0][0], pooled) and "gligen" not in prompts["positive"][0][1]


def test_clip_skip_and_prompt(bench: Bench, parts: Any) -> None:
    skipped = conditioning.clip_set_last_layer(bench.context(), clip=parts.CLIP, stop_at_clip_layer=-2)
    one, two = (conditioning.clip_text_encode(bench.context(), text="cat", clip=c)[0][0] for c in (parts.CLIP, skipped))
    assert one.shape == (1, 77, 64) and not torch.allclose(one, two, atol=1e-3)


def test_noise_models(bench: Bench, parts: Any) -> None:
    ctx, model = bench.context(), parts.MODEL
    discrete = model_advanced.model_sampling_discrete
    assert discrete(ctx, model=model, sampling="v_prediction", zsnr=False).noise.prediction.name == "v"
    assert discrete(ctx, model=model, sampling="eps", zsnr=True).noise.sigma_max > 4000
    assert len(discrete(ctx, model=model, sampling="lcm", zsnr=False).noise.sigmas) == 50
    edm = model_advanced.model_sampling_continuous_edm(ctx, model=model, sampling="edm", sigma_max=80.0, sigma_min=0.5).noise
    assert abs(edm.sigma_max - 80) < 1e-3 and abs(float(edm.timestep(torch.tensor(1.0)))) < 1e-6
    flow = model_advanced.model_sampling_sd3(ctx, model=model, shift=3.0).noise
    assert abs(float(flow.sigma(torch.tensor(500.0))) - 3 * 0.5 / (1 + 2 * 0.5)) < 1e-6
    aura = model_advanced.model_sampling_aura_flow(ctx, model=model, shift=1.73).noise
    assert abs(float(aura.timestep(torch.tensor(0.5))) - 0.5) < 1e-6
    small = model_advanced.model_sampling_flux(ctx, model=model, max_shift=1.15, base_shift=0.5, width=256, height=256).noise
    large = model_advanced.model_sampling_flux(ctx, model=model, max_shift=1.15, base_shift=0.5, width=1024, height=1024).noise
    e = 2.718281828459045
    for noise, mu in ((small, 0.5), (large, 1.15)):  # 256 patches give the base shift, 4096 the largest
        assert abs(float(noise.sigma(torch.tensor(0.5))) - e**mu / (e**mu + 1)) < 1e-5
    assert model.noise.prediction.name == "eps"
    with pytest.raises(NotInstalled):
        model_advanced.model_sampling_stable_cascade(ctx, model=model, shift=2.0)
    with pytest.raises(BadInput, match="between"):
        model_advanced.model_sampling_continuous_v(ctx, model=model, sampling="v_prediction", sigma_max=0.01, sigma_min=0.03)
    with pytest.raises(BadInput, match="positive"):
        model_advanced.model_sampling_sd3(ctx, model=model, shift=0.0)


def test_compute_dtype(bench: Bench, parts: Any) -> None:
    ctx = bench.context()
    assert model_advanced.model_compute_dtype(ctx, model=parts.MODEL, dtype="bf16").loadable.dtype == torch.bfloat16
    assert model_advanced.model_compute_dtype(ctx, model=parts.MODEL, dtype="default") is parts.MODEL


def test_rescaled_guidance_restores_the_contrast_of_v(bench: Bench, parts: Any) -> None:
    """v written out on the variance preserving axis: x_t = a x0 + b eps, v = a eps - b x0, with a = 1 / sqrt(1 + s^2), b = s a."""
    x, cond, uncond = (torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(i)) for i in range(3))
    sigma = torch.tensor([2.0, 0.5])
    s = sigma.reshape(-1, 1, 1, 1)
    a = 1 / (1 + s * s).sqrt()
    b = s * a

    def velocity(x0: torch.Tensor) -> torch.Tensor:
        return a * (x - x0) / s - b * x0

    guidance = Guidance(x, sigma, cond, uncond, 7.0, parts.MODEL)
    full, none, half = (velocity(model_advanced.rescaled(guidance, m)) for m in (1.0, 0.0, 0.5))
    plain = velocity(guidance.guided())
    assert torch.allclose(none, plain, atol=1e-4)
    assert torch.allclose(full.std(dim=(1, 2, 3)), velocity(cond).std(dim=(1, 2, 3)), rtol=1e-4)
    assert torch.allclose(full / plain, (full / plain).mean(dim=(1, 2, 3), keepdim=True).expand_as(full), atol=1e-3)
    assert torch.allclose(half, (full + plain) / 2, atol=1e-4)
    assert model_advanced.rescaled(Guidance(x, sigma, cond, None, 1.0, parts.MODEL), 1.0) is cond


def test_taps_change_sampling(bench: Bench, parts: Any, prompts: dict[str, Any]) -> None:
    ctx, plain = bench.context(), ksample(bench, parts, prompts, steps=3)
    nothing = latent_advanced.latent_apply_operation_cfg(ctx, model=parts.MODEL, operation=lambda latent: latent)
    assert torch.allclose(ksample(bench, parts, prompts, steps=3, model=nothing), plain, atol=1e-3)
    doubled = latent_advanced.latent_apply_operation_cfg(ctx, model=parts.MODEL, operation=lambda latent: latent * 2)
    assert torch.allclose(
        ksample(bench, parts, prompts, steps=3, model=doubled), ksample(bench, parts, prompts, steps=3, cfg=8.0), atol=1e-2
    )
    rescaled = model_advanced.rescale_cfg(ctx, model=parts.MODEL, multiplier=1.0)
    assert ksample(bench, parts, prompts, steps=3, model=rescaled).std() < plain.std()
    assert torch.allclose(ksample(bench, parts, prompts, steps=3), plain)  # the first model is as it was

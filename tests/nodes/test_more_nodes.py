"""Guidance, latent and schedule nodes: their formulas and their refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider, Guidance
from backend.diffusion.sample import prepare_noise, sample
from backend.memory.pool import Pool
from nodes import conditioning_values, editing, guidance, latent_shapes, model_patches, schedules_more
from tests.diffusion.toy import cond, toy_model
from tests.nodes.bench import Bench


@pytest.fixture
def ctx(tmp_path: Path) -> Any:
    return Bench(tmp_path).context()


def test_manual_sigmas(ctx: Any) -> None:
    assert schedules_more.manual_sigmas(ctx, sigmas="1., 0.99375 ;0.5,0.0").tolist() == pytest.approx([1, 0.99375, 0.5, 0])
    for text in ("", "a, b", "1, -1", "nan"):
        with pytest.raises(BadInput, match="numbers from 0"):
            schedules_more.manual_sigmas(ctx, sigmas=text)


def test_ltxv_schedule(ctx: Any) -> None:
    found = schedules_more.ltxv_scheduler(ctx, steps=8, max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1)
    assert len(found) == 9 and float(found[0]) == pytest.approx(1) and found[-1] == 0 and float(found[-2]) == pytest.approx(0.1, abs=1e-6)
    plain = schedules_more.ltxv_scheduler(ctx, steps=8, stretch=False, latent={"samples": torch.zeros(1, 128, 1, 32, 32)})
    bend = math.exp(0.95)
    assert float(plain[4]) == pytest.approx(bend / (bend + 1), abs=1e-6)


def test_cfg_override(ctx: Any) -> None:
    one, zero = torch.ones(1, 4, 2, 2), torch.zeros(1, 4, 2, 2)
    model = schedules_more.cfg_override(ctx, model=toy_model(), cfg=3.0, start_percent=0.5, end_percent=1.0)
    (tap,) = model.taps["cfg"]
    seen = [float(tap(Guidance(zero, torch.tensor([s]), one, zero, 7.0, model)).max()) for s in (14.0, 0.1)]
    assert seen == [7.0, 3.0]


@pytest.mark.parametrize(("make", "options", "shape"), [
    (latent_shapes.empty_sd3, {}, (1, 16, 128, 128)), (latent_shapes.empty_hunyuan_video, {}, (1, 16, 7, 60, 106)),
    (latent_shapes.empty_ltxv, {}, (1, 128, 13, 16, 24)), (latent_shapes.empty_mochi, {"batch_size": 2}, (2, 12, 5, 60, 106)),
    (latent_shapes.empty_latent_audio, {}, (1, 64, 1024)), (latent_shapes.empty_ace_step, {"seconds": 10.0}, (1, 8, 16, 107)),
    (latent_shapes.empty_flux2, {}, (1, 128, 64, 64)), (latent_shapes.empty_hunyuan_3d, {}, (1, 64, 3072)),
])  # fmt: skip
def test_empty_latents(ctx: Any, make: Any, options: dict[str, Any], shape: tuple[int, ...]) -> None:
    assert make(ctx, **options)["samples"].shape == shape


def test_latents_are_cut(ctx: Any) -> None:
    film = {"samples": torch.arange(12.0).reshape(1, 1, 6, 1, 2), "other": 1}
    assert latent_shapes.trim_video_latent(ctx, samples=film, trim_amount=4)["samples"].flatten().tolist() == [8, 9, 10, 11]
    made = latent_shapes.latent_cut_to_batch(ctx, samples=film, dim="t", slice_size=4)
    assert made["samples"].shape == (1, 1, 4, 1, 2) and made["other"] == 1
    assert latent_shapes.latent_cut_to_batch(ctx, samples=film, dim="t", slice_size=2)["samples"].shape == (3, 1, 2, 1, 2)


def test_values_of_conditioning(ctx: Any) -> None:
    given = cond(1, keep=1)
    made = conditioning_values.flux_guidance(ctx, conditioning=given, guidance=2.5)
    assert made[0][1] == {"keep": 1, "guidance": 2.5} and given[0][1] == {"keep": 1}
    made = conditioning_values.reference_latent(ctx, conditioning=made, latent={"samples": torch.zeros(1)})
    made = conditioning_values.reference_latent(ctx, conditioning=made, latent={"samples": torch.ones(1)})
    assert [float(t) for t in made[0][1]["reference_latents"]] == [0, 1]
    assert conditioning_values.flux_kontext_image_scale(ctx, image=torch.rand(1, 90, 160, 3)).shape == (1, 752, 1392, 3)


def test_patches_say_what_they_cannot_change(ctx: Any) -> None:
    with pytest.raises(BadInput, match="toy is none"):
        model_patches.freeu_1(ctx, model=toy_model())
    with pytest.raises(BadInput, match="layers are numbers"):
        guidance.skip_layer_guidance_sd3(ctx, model=toy_model(), layers="7, x")
    assert guidance.skip_layer_guidance_sd3(ctx, model=toy_model(), layers="").taps == {}


def test_diffedit_changes_what_the_mask_says(ctx: Any) -> None:
    model, latent = toy_model(), {"samples": torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2)), "other": 1}
    prompts = {"source": cond(1), "target": cond(2), "negative": cond(3)}
    found = editing.diffedit_mask(ctx, model=model, latent=latent, seed=1, maps=2, threshold=1.5, **prompts)
    assert found.shape == (1, 64, 64) and set(found.unique().tolist()) <= {0.0, 1.0}
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1
    made = editing.diffedit_(ctx, model=model, latent_image=latent, mask=mask, steps=4, scheduler="normal", **prompts)
    changed = (made["samples"] - latent["samples"]).abs()
    assert made["other"] == 1 and float(changed[..., :4].max()) < 1e-5 and float(changed[..., 4:].max()) > 1e-3


def test_sampling_that_grows(ctx: Any) -> None:
    wire = editing.sampler_lcm_upscale(ctx, scale_ratio=2.0, upscale_method="bislerp")
    model = toy_model()
    sigmas = torch.tensor([10.0, 3.0, 1.0, 0.0])
    latent = torch.zeros(1, 4, 8, 8)
    guider = CfgGuider(model, cond(1), cond(2), 2.0)
    assert sample(guider, prepare_noise(latent, 1), latent, wire, sigmas, pool=Pool("cpu")).shape == (1, 4, 16, 16)

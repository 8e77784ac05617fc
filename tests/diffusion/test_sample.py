"""The sampling loop and the KSampler rules, end to end on a toy net."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from backend.base.errors import BadInput, Interrupted
from backend.diffusion.guiders import BasicGuider, CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.inpaint import fit_noise_mask
from backend.diffusion.ksample import ksample
from backend.diffusion.latent import FLUX, SD1, SDXL, LatentFormat
from backend.diffusion.noise import flow_noise
from backend.diffusion.preview import colours, encoder
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import EXTRA, SAMPLERS, Step, solver
from backend.diffusion.schedules import sampling_sigmas
from backend.weights.patch import Patch
from tests.diffusion.naive import x0_of
from tests.diffusion.toy import ToyFamily, cond, text, toy_model, toy_pool

POSITIVE, NEGATIVE = cond(1), cond(2)


def zeros(batch: int = 1, channels: int = 4, side: int = 8) -> dict[str, Any]:
    return {"samples": torch.zeros(batch, channels, side, side)}


def run(model: ModelHandle | None = None, latent: dict[str, Any] | None = None, sampler: str = "euler", **options: Any) -> Tensor:
    options = {"seed": 5, "steps": 6, "cfg": 4.0, "scheduler": "normal", **options}
    model, latent = model or toy_model(), latent or zeros()
    got: Tensor = ksample(
        model, options.pop("seed"), options.pop("steps"), options.pop("cfg"), sampler, options.pop("scheduler"),
        POSITIVE, NEGATIVE, latent, pool=toy_pool(), **options,
    )["samples"]  # fmt: skip
    return got


def by_hand(steps: int = 6, seed: int = 5, cfg: float = 4.0, flow: bool = False) -> Tensor:
    """Euler written out, one conditioning and one image at a time."""
    model = toy_model(flow_noise(3.0) if flow else None)
    sigmas = sampling_sigmas(model.noise, "normal", steps)
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    x = noise * sigmas[0] if flow else noise * (1 + sigmas[0] ** 2).sqrt()
    with toy_pool().lease(model.loadable) as net:
        for s, s_next in pairwise(sigmas):
            positive, negative = (x0_of(model, net, x, float(s), text(n)) for n in (1, 2))
            x0 = negative + cfg * (positive - negative)
            x = x + (x - x0) / s * (s_next - s)
    return x / 0.5  # the toy format's scale


@pytest.mark.parametrize("flow", [False, True])
def test_against_euler_by_hand(flow: bool) -> None:
    got = run(toy_model(flow_noise(3.0) if flow else None))
    assert got.dtype == torch.float32 and got.device.type == "cpu"
    assert (got - by_hand(flow=flow)).abs().max() < 1e-4


@pytest.mark.parametrize("name", [*SAMPLERS, *EXTRA])
def test_every_sampler_is_a_function_of_the_seed(name: str) -> None:
    a, b, other = run(sampler=name), run(sampler=name), run(sampler=name, seed=6)
    assert torch.isfinite(a).all() and torch.equal(a, b) and not torch.equal(a, other)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_runs_on_a_flow(name: str) -> None:
    out = run(toy_model(flow_noise(3.0)), sampler=name, scheduler="simple")
    assert torch.isfinite(out).all()


def test_one_step_of_every_sampler() -> None:
    for name in [*SAMPLERS, *EXTRA]:
        assert torch.isfinite(run(sampler=name, steps=1)).all(), name


def test_noise_bit_for_bit() -> None:
    latent = torch.zeros(3, 4, 8, 8)
    expected = torch.randn(latent.shape, generator=torch.manual_seed(123), device="cpu")
    assert torch.equal(prepare_noise(latent, 123), expected)
    assert prepare_noise(latent, 2**64 - 1).shape == latent.shape


def test_batch_index_picks_rows() -> None:
    latent = torch.zeros(4, 4, 8, 8)
    generator = torch.Generator().manual_seed(9)
    rows = [torch.randn(1, 4, 8, 8, generator=generator) for _ in range(6)]
    assert torch.equal(prepare_noise(latent, 9, [5, 0, 2, 2]), torch.cat([rows[i] for i in (5, 0, 2, 2)]))
    one = run(latent={**zeros(), "batch_index": [3]})
    many = run(latent={**zeros(4), "batch_index": [0, 1, 2, 3]})
    assert (one[0] - many[3]).abs().max() < 1e-4


def test_the_latent_dict_is_copied() -> None:
    latent = {**zeros(), "batch_index": [0], "other": "kept"}
    out = ksample(toy_model(), 0, 2, 1.0, "euler", "normal", POSITIVE, NEGATIVE, latent, pool=toy_pool())
    assert out["other"] == "kept" and out["batch_index"] == [0] and out is not latent
    assert not latent["samples"].any()
    out["samples"].add_(1)  # not an inference tensor


def test_empty_latents_adapt_their_channels() -> None:
    assert run(latent=zeros(channels=16)).shape == (1, 4, 8, 8)
    video = LatentFormat(channels=16, dims=3)
    assert video.adapt_empty(torch.zeros(1, 4, 8, 8)).shape == (1, 16, 1, 8, 8)
    assert SD1.adapt_empty(torch.ones(1, 16, 8, 8)).shape == (1, 16, 8, 8)


def test_denoise_zero_and_starting_past_the_end_change_nothing() -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8)}
    assert torch.equal(run(latent=latent, denoise=0.0), latent["samples"])
    assert torch.equal(run(latent=latent, start_step=6), latent["samples"])
    assert torch.equal(run(latent=latent, start_step=1000), latent["samples"])


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("middle", [1, 3, 5])
def test_two_halves_make_a_whole(middle: int, flow: bool) -> None:
    """KSamplerAdvanced: leftover noise handed on, no noise added again."""
    model = toy_model(flow_noise(3.0) if flow else None)
    first = run(model, last_step=middle)
    second = run(model, latent={"samples": first}, start_step=middle, disable_noise=True)
    # the second half scales and unscales a noisy latent by the same factor; a flow also divides by 1 - sigma and multiplies again
    assert (second - run(model)).abs().max() < 1e-3


def test_force_full_denoise_ends_clean() -> None:
    seen: list[Step] = []
    out = run(last_step=3, force_full_denoise=True, on_step=seen.append)
    assert len(seen) == 3
    assert torch.allclose(out, seen[-1].denoised / 0.5, atol=1e-4)


def test_partial_denoise_stays_near() -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8)}
    far = (run(latent=latent, denoise=1.0) - latent["samples"]).abs().mean()
    seen: list[Step] = []
    near = (run(latent=latent, denoise=0.2, on_step=seen.append) - latent["samples"]).abs().mean()
    assert near < far and len(seen) == 6
    assert seen[0].sigma == pytest.approx(float(sampling_sigmas(toy_model().noise, "normal", 6, denoise=0.2)[0]))


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "ddim", "euler_cfg_pp", "lcm"])
def test_mask_keeps_the_rest(name: str) -> None:
    latent = {"samples": torch.randn(2, 4, 8, 8), "noise_mask": torch.zeros(1, 1, 64, 64)}
    latent["noise_mask"][..., :32] = 1
    out = run(latent=latent, sampler=name)
    kept = (out - latent["samples"])[..., 5:].abs().max()
    assert kept < 1e-3
    assert (out - latent["samples"])[..., :3].abs().max() > 0.5


def test_mask_of_ones_is_no_mask() -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8)}
    assert torch.allclose(run(latent=latent), run(latent={**latent, "noise_mask": torch.ones(64, 64)}), atol=1e-5)


def test_what_a_mask_keeps_is_noised_to_the_step() -> None:
    """The net is shown clean + sigma noise outside the mask, with the noise the sampling began with, or fresh noise for ddim."""
    for name, seed in (("euler", 5), ("ddim", 6)):
        shown: list[tuple[Tensor, float]] = []

        def spy(apply: Any, x: Tensor, sigma: Tensor, inputs: Any, roles: Any, shown: Any = shown) -> Tensor:
            shown.append((x[:1].clone(), float(sigma[0])))
            return apply(x, sigma, inputs)

        latent = {"samples": torch.randn(1, 4, 8, 8), "noise_mask": torch.zeros(1, 8, 8)}
        run(toy_model().with_tap("apply", spy), latent=latent, sampler=name)
        noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed))
        for x, sigma in shown:
            assert torch.allclose(x, latent["samples"] * 0.5 + sigma * noise, atol=1e-4)


def test_denoise_mask_tap_moves_the_mask() -> None:
    latent = {"samples": torch.randn(1, 4, 8, 8), "noise_mask": torch.zeros(1, 8, 8)}
    seen: list[Any] = []

    def everything(sigma: Tensor, mask: Tensor, extra: dict[str, Any]) -> Tensor:
        seen.append((float(sigma[0]), len(extra["sigmas"])))
        return torch.ones_like(mask)

    out = run(toy_model().with_tap("denoise_mask", everything), latent=latent)
    assert torch.allclose(out, run(latent={"samples": latent["samples"]}), atol=1e-5)
    assert len(seen) == 6 and seen[0][1] == 7


@pytest.mark.parametrize(("mask", "shape"), [
    ((8, 8), (2, 4, 8, 8)), ((3, 64, 64), (3, 4, 8, 8)), ((1, 1, 64, 64), (5, 16, 8, 8)), ((2, 8, 8), (4, 4, 8, 8)),
    ((5, 64, 64), (1, 16, 5, 8, 8)), ((1, 64, 64), (1, 16, 5, 8, 8)), ((1, 1, 7), (2, 64, 50)),
])  # fmt: skip
def test_noise_masks_of_any_shape(mask: tuple[int, ...], shape: tuple[int, ...]) -> None:
    out = fit_noise_mask(torch.rand(mask), shape)
    assert out.shape == shape and out.min() >= 0 and out.max() <= 1


def test_interrupting_a_step_gets_out_and_frees_the_lease() -> None:
    pool, model = toy_pool(), toy_model()

    def stop(step: Step) -> None:
        if step.i == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        ksample(model, 0, 6, 2.0, "dpmpp_2m", "karras", POSITIVE, NEGATIVE, zeros(), pool=pool, on_step=stop)
    assert [row["leased"] for row in pool.table()] == [False]


def test_patches_reach_the_net() -> None:
    patch = Patch("mix.bias", 1.0, "up", lambda w: w + 0.5)
    plain, patched = toy_model(), toy_model().patched(patch)
    pool = toy_pool()

    def go(model: ModelHandle) -> Tensor:
        out: Tensor = ksample(model, 0, 3, 2.0, "euler", "normal", POSITIVE, NEGATIVE, zeros(), pool=pool)["samples"]
        return out

    before, changed, after = go(plain), go(patched), go(plain)
    assert torch.equal(before, after) and not torch.allclose(before, changed)
    assert patched.leasable().fingerprint and plain.leasable() is plain.loadable


def test_half_precision_net_stays_near() -> None:
    exact = run(cfg=1.0)
    low = run(toy_model(dtype=torch.bfloat16), cfg=1.0)
    assert low.dtype == torch.float32
    assert (exact - low).abs().mean() < 0.05 * exact.abs().mean() and not torch.equal(exact, low)


def test_net_taps_reach_the_family() -> None:
    seen: dict[str, Any] = {}

    class Family(ToyFamily):
        def forward(self, net: Any, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
            seen.update(kwargs)
            return super().forward(net, x, t, kwargs)

    run(toy_model(family=Family([])).with_tap("attn1_patch", len))
    assert seen["taps"] == {"attn1_patch": (len,)}
    assert seen["facts"]["cond_or_uncond"] == [0, 1] and len(seen["facts"]["sample_sigmas"]) == 7
    seen.clear()
    run(toy_model(family=Family([])).with_tap("post_cfg", lambda g: g.denoised))
    assert "taps" not in seen and "facts" not in seen


def test_cfg_one_runs_one_role_unless_the_solver_needs_both() -> None:
    for name, rows in (("euler", 1), ("euler_cfg_pp", 2)):
        family = ToyFamily([])
        run(toy_model(family=family), sampler=name, cfg=1.0)
        assert {c[0] for c in family.calls} == {rows}


def test_basic_guider_samples() -> None:
    model = toy_model()
    noise, sigmas = prepare_noise(zeros()["samples"], 1), sampling_sigmas(model.noise, "karras", 4)
    out = sample(BasicGuider(model, POSITIVE), noise, zeros()["samples"], solver("dpmpp_2m"), sigmas, pool=toy_pool())
    same = sample(CfgGuider(model, POSITIVE, NEGATIVE, 1.0), noise, zeros()["samples"], solver("dpmpp_2m"), sigmas, pool=toy_pool())
    assert torch.equal(out, same)


def test_errors_are_sentences() -> None:
    model = toy_model()
    sigmas = sampling_sigmas(model.noise, "karras", 4)
    with pytest.raises(BadInput, match="must be equal"):
        sample(BasicGuider(model, POSITIVE), torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 9, 8), solver("euler"), sigmas, pool=toy_pool())
    with pytest.raises(BadInput, match="no conditioning"):
        sample(BasicGuider(model, []), torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), solver("euler"), sigmas, pool=toy_pool())


def test_latent_formats_invert() -> None:
    x = torch.randn(1, 16, 4, 4)
    for fmt in (SD1, SDXL, FLUX):
        assert torch.allclose(fmt.process_out(fmt.process_in(x)), x, atol=1e-5)
    assert float(SD1.process_in(torch.ones(1))) == pytest.approx(0.18215)


def test_preview() -> None:
    x0 = torch.randn(2, 4, 16, 24)
    make = encoder(x0, SD1)
    assert make is not None
    kind, data = make()
    image = Image.open(io.BytesIO(data))
    assert kind == "jpeg" and image.format == "JPEG" and max(image.size) == 512 and image.size == (512, 341)
    assert encoder(x0, FLUX) is None and colours(x0, FLUX) is None
    grey = colours(torch.zeros(1, 4, 2, 2), SD1)
    assert grey is not None and torch.equal(grey, torch.full((3, 2, 2), 0.5))
    tiny = encoder(x0, FLUX, decode=lambda z: torch.rand(1, 3, 128, 192))
    assert tiny is not None and Image.open(io.BytesIO(tiny()[1])).size == (512, 341)


@pytest.mark.parametrize("name", [*SAMPLERS, *EXTRA])
def test_odd_schedules(name: str) -> None:
    """Upwards from image to noise, a repeated sigma, a single sigma, and a single step."""
    model, clean = toy_model(), torch.randn(1, 4, 8, 8)
    for sigmas in ([0.1, 0.5, 3.0, 9.0], [9.0, 3.0, 3.0, 3.0, 0.5, 0.0], [5.0], [5.0, 0.0]):
        out = sample(BasicGuider(model, POSITIVE), torch.zeros(1, 4, 8, 8), clean, solver(name), torch.tensor(sigmas), pool=toy_pool())
        assert torch.isfinite(out).all(), sigmas


def test_going_up_and_down_again_comes_back() -> None:
    model, clean = toy_model(), torch.randn(1, 4, 8, 8) * 0.2
    up = torch.linspace(0.05, 4.0, 60)
    nothing = torch.zeros(1, 4, 8, 8)

    def go(latent: Tensor, sigmas: Tensor) -> Tensor:
        return sample(BasicGuider(model, POSITIVE), nothing, latent, solver("heun"), sigmas, pool=toy_pool())

    assert (go(go(clean, up), up.flip(0)) - clean).abs().max() < 0.02


@pytest.mark.parametrize("name", ["dpm_fast", "dpm_adaptive"])
def test_one_step_without_room_is_the_models_answer(name: str) -> None:
    seen: list[Step] = []
    out = run(sampler=name, steps=1, on_step=seen.append)
    assert len(seen) == 1 and torch.allclose(out, seen[0].denoised / 0.5)


@pytest.mark.parametrize("shape", [(1, 4, 3, 8, 8), (2, 4, 50)])
def test_video_and_sound_latents(shape: tuple[int, ...]) -> None:
    """Nothing in the loop is bound to images: five and three dimensions, with a mask."""

    class Flat(ToyFamily):
        def forward(self, net: Any, x: Tensor, t: Tensor, kwargs: dict[str, Any]) -> Tensor:
            wide = x.reshape(*x.shape[:2], -1, 1)
            return super().forward(net, wide, t, kwargs).reshape(x.shape)

    latent = {"samples": torch.randn(shape), "noise_mask": torch.zeros(1, 8, 8) if len(shape) == 5 else torch.zeros(1, 1, 50)}
    family = Flat([], latent=LatentFormat(scale=0.5, dims=len(shape) - 2))
    out = run(toy_model(family=family), latent=latent, sampler="dpmpp_2m")
    assert out.shape == shape and (out - latent["samples"]).abs().max() < 1e-3
    free = run(toy_model(family=family), latent={"samples": latent["samples"]}, sampler="dpmpp_2m")
    assert (free - latent["samples"]).abs().max() > 0.5

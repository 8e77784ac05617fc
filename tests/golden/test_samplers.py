"""Every sampler that k-diffusion has, against it: same denoiser, same start, same noise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion import curves
from backend.diffusion.randomness import BrownianNoise, GivenNoise, SeededNoise
from backend.diffusion.samplers import SAMPLERS, Step
from tests.golden.reference import denoise, k_diffusion_sampling, numbered_noise

SHAPE = (2, 4, 6, 5)
CLOSE = 1e-4

# a schedule with unequal steps, and one that does not end at zero
SCHEDULES = {"karras": curves.karras(9, 0.03, 14.6), "open": curves.exponential(7, 0.1, 10.0)[:-1]}


def start(sigmas: Tensor, seed: int = 3) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * sigmas[0]


def ours(name: str, sigmas: Tensor, **options: Any) -> Tensor:
    return SAMPLERS[name](denoise, start(sigmas), sigmas, noise=GivenNoise(numbered_noise(SHAPE)), **options)


def theirs(name: str, sigmas: Tensor, noisy: bool, **options: Any) -> Tensor:
    function = getattr(k_diffusion_sampling(), f"sample_{name}")
    if noisy:
        options["noise_sampler"] = numbered_noise(SHAPE)
    return function(denoise, start(sigmas), sigmas, disable=True, **options)


DETERMINISTIC = [
    ("euler", {}), ("heun", {}), ("dpm_2", {}), ("dpmpp_2m", {}),
    ("lms", {"order": 4}), ("lms", {"order": 2}), ("lms", {"order": 1}),
]  # fmt: skip

STOCHASTIC = [
    ("euler_ancestral", {}), ("euler_ancestral", {"eta": 0.5, "s_noise": 0.9}), ("euler_ancestral", {"eta": 0.0}),
    ("dpm_2_ancestral", {}), ("dpm_2_ancestral", {"eta": 0.6, "s_noise": 1.1}),
    ("dpmpp_2s_ancestral", {}), ("dpmpp_2s_ancestral", {"eta": 0.4, "s_noise": 0.8}),
    ("dpmpp_sde", {}), ("dpmpp_sde", {"eta": 0.5, "s_noise": 0.9, "r": 0.4}), ("dpmpp_sde", {"eta": 0.0}),
    ("dpmpp_2m_sde", {}), ("dpmpp_2m_sde", {"solver_type": "heun", "eta": 0.7}), ("dpmpp_2m_sde", {"eta": 0.0}),
    ("dpmpp_3m_sde", {}), ("dpmpp_3m_sde", {"eta": 0.3, "s_noise": 0.9}), ("dpmpp_3m_sde", {"eta": 0.0}),
]  # fmt: skip


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("name", "options"), DETERMINISTIC, ids=str)
def test_deterministic(name: str, options: dict[str, Any], schedule: str) -> None:
    sigmas = SCHEDULES[schedule]
    extra = {"final_denoise": False} if name == "lms" else {}
    assert (ours(name, sigmas, **options, **extra) - theirs(name, sigmas, False, **options)).abs().max() < CLOSE


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("name", "options"), STOCHASTIC, ids=str)
def test_stochastic(name: str, options: dict[str, Any], schedule: str) -> None:
    sigmas = SCHEDULES[schedule]
    assert (ours(name, sigmas, **options) - theirs(name, sigmas, True, **options)).abs().max() < CLOSE


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2"])
def test_churn(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """k-diffusion draws churn noise from the global generator at every step, we only at steps that churn."""
    sigmas = SCHEDULES["karras"]
    options = {"s_churn": 3.0, "s_tmin": 0.0, "s_tmax": 1e9, "s_noise": 1.003}
    draw = numbered_noise(SHAPE)
    monkeypatch.setattr(k_diffusion_sampling().torch, "randn_like", lambda x: draw())
    expected = theirs(name, sigmas, False, **options)
    monkeypatch.undo()
    assert (ours(name, sigmas, **options) - expected).abs().max() < CLOSE


@pytest.mark.parametrize("steps", [3, 4, 5, 6, 11])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_dpm_fast(steps: int, eta: float) -> None:
    sigmas = curves.karras(steps, 0.03, 14.6)
    # k-diffusion draws for steps without noise too, so each side is given noise by its sigma
    expected = k_diffusion_sampling().sample_dpm_fast(
        denoise, start(sigmas), float(sigmas[-2]), float(sigmas[0]), steps, disable=True, eta=eta, noise_sampler=by_sigma
    )
    got = SAMPLERS["dpm_fast"](denoise, start(sigmas), sigmas, noise=GivenNoise(by_sigma), eta=eta)
    assert (got - expected).abs().max() < CLOSE


def by_sigma(sigma: Any, sigma_next: Any) -> Tensor:
    """Noise that is a smooth function of the step."""
    phase = torch.arange(SHAPE[1] * SHAPE[2] * SHAPE[3] * SHAPE[0]).reshape(SHAPE)
    return torch.sin(phase * 1.7 + float(sigma) + 0.3 * float(sigma_next)) * 2**0.5


CONTROLS = [{}, {"order": 2}, {"rtol": 0.01, "atol": 0.001}, {"pcoeff": 0.2, "icoeff": 0.8, "dcoeff": 0.1}]


@pytest.mark.parametrize("options", CONTROLS, ids=str)
@pytest.mark.parametrize("eta", [0.0, 0.5])
def test_dpm_adaptive(options: dict[str, Any], eta: float) -> None:
    sigmas = curves.karras(6, 0.03, 14.6)
    run, ends = k_diffusion_sampling().sample_dpm_adaptive, (float(sigmas[-2]), float(sigmas[0]))
    expected, info = run(denoise, start(sigmas), *ends, disable=True, eta=eta, noise_sampler=by_sigma, return_info=True, **options)
    steps: list[Step] = []
    got = SAMPLERS["dpm_adaptive"](denoise, start(sigmas), sigmas, noise=GivenNoise(by_sigma), eta=eta, on_step=steps.append, **options)
    assert len(steps) == info["steps"]
    assert (got - expected).abs().max() < CLOSE


def test_brownian_noise_is_k_diffusions() -> None:
    sigmas = SCHEDULES["karras"]
    x = torch.zeros(SHAPE)
    expected = k_diffusion_sampling().BrownianTreeNoiseSampler(x, sigmas[-2], sigmas[0], seed=11)
    got = BrownianNoise(x, float(sigmas[-2]), float(sigmas[0]), 11)
    with pytest.warns(UserWarning, match="Should have"):
        pairs = [(expected(a, b), got(float(a), float(b))) for a, b in pairwise(sigmas[:-1])]
    for e, g in pairs:
        assert (e - g).abs().max() < 1e-6


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_same_seed_same_picture_as_k_diffusion(name: str) -> None:
    """End to end with the real Brownian path, not an injected one."""
    k, sigmas = k_diffusion_sampling(), SCHEDULES["karras"]
    x = start(sigmas)
    sampler = k.BrownianTreeNoiseSampler(x, sigmas[-2], sigmas[0], seed=11)
    with pytest.warns(UserWarning, match="Should have"):
        expected = getattr(k, f"sample_{name}")(denoise, x, sigmas, disable=True, noise_sampler=sampler)
    assert (SAMPLERS[name](denoise, x, sigmas, noise=SeededNoise(11)) - expected).abs().max() < CLOSE


def test_steps_are_reported_alike() -> None:
    sigmas = SCHEDULES["karras"]
    theirs_steps: list[dict[str, Any]] = []
    k_diffusion_sampling().sample_heun(denoise, start(sigmas), sigmas, disable=True, callback=theirs_steps.append)
    steps: list[Step] = []
    SAMPLERS["heun"](denoise, start(sigmas), sigmas, noise=SeededNoise(0), on_step=steps.append)
    assert [s.i for s in steps] == [s["i"] for s in theirs_steps]
    for mine, other in zip(steps, theirs_steps, strict=True):
        assert mine.sigma == pytest.approx(float(other["sigma"]))
        assert (mine.denoised - other["denoised"]).abs().max() < CLOSE
        assert (mine.x - other["x"]).abs().max() < CLOSE

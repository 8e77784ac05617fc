"""Samplers that k-diffusion lacks, against diffusers schedulers where both describe the same trajectory.

diffusers steps live on the variance preserving axis: x_vp = x / sqrt(1 + sigma^2), and its model outputs are noise.
"""

from __future__ import annotations

from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from backend.diffusion.noise import DiscreteNoise, DistilledNoise, betas
from backend.diffusion.randomness import GivenNoise, SeededNoise
from backend.diffusion.samplers import EXTRA, SAMPLERS
from tests.golden.reference import denoise, numbered_noise

SHAPE = (2, 4, 6, 5)
CLOSE = 1e-4
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def table() -> DiscreteNoise:
    return DiscreteNoise.from_betas(betas("scaled_linear"))


def start(sigma: float, seed: int = 3) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) * (1 + sigma**2) ** 0.5


def eps_at(x_vp: Tensor, sigma: float) -> Tensor:
    """What a noise predicting net would have put out."""
    x = x_vp * (1 + sigma**2) ** 0.5
    return (x - denoise(x, torch.full((SHAPE[0],), sigma))) / sigma


def run_diffusers(scheduler: Any, sigmas: list[float], count: int | None = None, **step: Any) -> Tensor:
    """`count` steps of the scheduler; sigmas[i] is the sigma of its i-th timestep. Returned on the variance exploding axis."""
    x = start(sigmas[0]) / (1 + sigmas[0] ** 2) ** 0.5
    count = len(scheduler.timesteps) if count is None else count
    for i, t in enumerate(scheduler.timesteps[:count]):
        x = scheduler.step(eps_at(x, sigmas[i]), t, x, **step).prev_sample
    last = sigmas[count] if count < len(sigmas) else 0.0
    return x * (1 + last**2) ** 0.5


def of(scheduler: Any, steps: int, **kw: Any) -> tuple[Any, list[float]]:
    """The scheduler ready to go, and the sigmas of its timesteps."""
    scheduler.set_timesteps(steps, **kw)
    return scheduler, [float(s) for s in table().sigmas[scheduler.timesteps.long()]]


def ours(name: str, sigmas: list[float], **options: Any) -> Tensor:
    run = {**SAMPLERS, **EXTRA}[name]
    options.setdefault("noise", GivenNoise(numbered_noise(SHAPE)))
    return run(denoise, start(sigmas[0]), torch.tensor(sigmas), **options)


def same(a: Tensor, b: Tensor, tolerance: float = CLOSE) -> None:
    assert torch.isfinite(a).all()
    assert (a - b).abs().max() < tolerance


def test_ddim() -> None:
    scheduler, sigmas = of(diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"), 8)
    same(ours("ddim", [*sigmas, 0.0]), run_diffusers(scheduler, sigmas))


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_eta_is_euler_ancestral(eta: float) -> None:
    scheduler, sigmas = of(diffusers.DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"), 8)
    draw, x = numbered_noise(SHAPE), start(sigmas[0]) / (1 + sigmas[0] ** 2) ** 0.5
    for i, t in enumerate(scheduler.timesteps):
        noise = draw() if i < 7 else torch.zeros(SHAPE)
        x = scheduler.step(eps_at(x, sigmas[i]), t, x, eta=eta, variance_noise=noise).prev_sample
    same(ours("euler_ancestral", [*sigmas, 0.0], eta=eta), x)


def test_ddpm(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, sigmas = of(diffusers.DDPMScheduler(**SD, clip_sample=False, variance_type="fixed_small", timestep_spacing="trailing"), 8)
    draw = numbered_noise(SHAPE)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *a, **k: draw())
    same(ours("ddpm", [*sigmas, 0.0]), run_diffusers(scheduler, sigmas))


@pytest.mark.parametrize("steps", [2, 3, 4, 9])
def test_pndm(steps: int) -> None:
    scheduler = diffusers.PNDMScheduler(**SD, skip_prk_steps=True, set_alpha_to_one=True, steps_offset=1)
    scheduler, sigmas = of(scheduler, steps)
    expected = run_diffusers(scheduler, sigmas)
    once = [*sigmas[:1], *sigmas[2:]]  # the second timestep is visited twice
    same(ours("pndm", [*once, 0.0]), expected)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_tcd(eta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, sigmas = of(diffusers.TCDScheduler(**SD, set_alpha_to_one=False), 5, original_inference_steps=50)
    draw = numbered_noise(SHAPE)
    monkeypatch.setattr("diffusers.schedulers.scheduling_tcd.randn_tensor", lambda *a, **k: draw())
    noise = table()
    ends = [*sigmas, noise.sigma_min]
    expected = run_diffusers(scheduler, ends, eta=eta)
    same(ours("tcd", ends, eta=eta, path=noise.path), expected)


def test_lcm_with_its_boundary_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = DistilledNoise.of(table())
    scheduler = diffusers.LCMScheduler(**SD, set_alpha_to_one=True)
    scheduler.set_timesteps(5, original_inference_steps=50)
    draw = numbered_noise(SHAPE)
    monkeypatch.setattr("diffusers.schedulers.scheduling_lcm.randn_tensor", lambda *a, **k: draw())
    sigmas = [float(noise.sigma(t)) for t in scheduler.timesteps]
    expected = run_diffusers(scheduler, sigmas)

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        eps = eps_at(x / (1 + float(sigma[0]) ** 2) ** 0.5, float(sigma[0]))
        return noise.prediction.denoised(x, eps, sigma)

    got = SAMPLERS["lcm"](model, start(sigmas[0]), torch.tensor([*sigmas, 0.0]), noise=GivenNoise(numbered_noise(SHAPE)))
    same(got, expected)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_deis_in_log_sigma(order: int) -> None:
    scheduler = diffusers.DEISMultistepScheduler(**SD, solver_order=order, lower_order_final=False, timestep_spacing="trailing")
    scheduler, _ = of(scheduler, 9)
    sigmas = [float(s) for s in scheduler.sigmas[:-1]]
    expected = run_diffusers(scheduler, sigmas, count=8)
    same(ours("deis", sigmas, clock="log", max_order=order), expected)


@pytest.mark.parametrize("steps", [3, 5, 10])
@pytest.mark.parametrize(("name", "variant"), [("uni_pc", "bh1"), ("uni_pc_bh2", "bh2")])
def test_uni_pc(name: str, variant: str, steps: int) -> None:
    scheduler = diffusers.UniPCMultistepScheduler(
        **SD, solver_order=3, solver_type=variant, predict_x0=True, timestep_spacing="trailing", final_sigmas_type="sigma_min"
    )
    scheduler, _ = of(scheduler, steps)
    sigmas = [float(s) for s in scheduler.sigmas]
    expected = run_diffusers(scheduler, sigmas)
    same(ours(name, sigmas, order=min(3, steps)), expected)


@pytest.mark.parametrize("tau", [0.0, 1.0, 0.6])
@pytest.mark.parametrize(("predictor", "corrector"), [(1, 1), (2, 2), (3, 4)])
def test_sa_solver(predictor: int, corrector: int, tau: float, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = diffusers.SASolverScheduler(
        **SD, predictor_order=predictor, corrector_order=corrector, tau_func=lambda t: torch.tensor(tau), lower_order_final=False,
        timestep_spacing="trailing", algorithm_type="data_prediction",
    )  # fmt: skip
    scheduler, _ = of(scheduler, 9)
    sigmas = [float(s) for s in scheduler.sigmas[:-1]]
    draw = numbered_noise(SHAPE)
    monkeypatch.setattr("diffusers.schedulers.scheduling_sasolver.randn_tensor", lambda *a, **k: draw())
    expected = run_diffusers(scheduler, sigmas, count=8)
    # diffusers always uses the paper's simplified weights at order 2
    orders = {"predictor_order": predictor, "corrector_order": corrector}
    got = ours("sa_solver", sigmas, tau=lambda s: tau, simple_order_2=True, **orders)
    same(got, expected)


def test_ipndm() -> None:
    sigmas = [12.0, 7.0, 4.0, 2.2, 1.3, 0.7, 0.3, 0.1]
    scheduler = diffusers.IPNDMScheduler(trained_betas=[s / (1 + s * s) ** 0.5 for s in sigmas])
    scheduler.set_timesteps(8)
    x = start(sigmas[0]) / (1 + sigmas[0] ** 2) ** 0.5
    for i, t in enumerate(scheduler.timesteps[:7]):
        alpha, beta = 1 / (1 + sigmas[i] ** 2) ** 0.5, sigmas[i] / (1 + sigmas[i] ** 2) ** 0.5
        eps = eps_at(x, sigmas[i])
        v = (eps - beta * x) / alpha  # its nets predict v
        x = scheduler.step(v, t, x).prev_sample
    same(ours("ipndm", sigmas, noise=SeededNoise(0)), x * (1 + sigmas[7] ** 2) ** 0.5)

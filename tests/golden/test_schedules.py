"""Sigma schedules and noise tables against k-diffusion and diffusers."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr

from backend.diffusion import curves, schedules
from backend.diffusion.noise import DiscreteNoise, betas, flow_noise, sigmas_of, zero_terminal_snr
from tests.golden.reference import k_diffusion_sampling

SD: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def sd() -> DiscreteNoise:
    return DiscreteNoise.from_betas(betas("scaled_linear"))


@pytest.mark.parametrize("steps", [1, 2, 7, 20])
def test_formulas_are_k_diffusions(steps: int) -> None:
    k = k_diffusion_sampling()
    for got, expected in [
        (curves.karras(steps, 0.03, 14.6), k.get_sigmas_karras(steps, 0.03, 14.6)),
        (curves.karras(steps, 0.1, 80.0, rho=3.0), k.get_sigmas_karras(steps, 0.1, 80.0, rho=3.0)),
        (curves.exponential(steps, 0.03, 14.6), k.get_sigmas_exponential(steps, 0.03, 14.6)),
        (curves.polyexponential(steps, 0.03, 14.6, 1.7), k.get_sigmas_polyexponential(steps, 0.03, 14.6, 1.7)),
        (curves.vp(steps), k.get_sigmas_vp(steps)),
        (curves.vp(steps, 12.0, 0.2, 0.01), k.get_sigmas_vp(steps, 12.0, 0.2, 0.01)),
    ]:
        assert torch.equal(got, expected)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_beta_schedules(name: str) -> None:
    reference = diffusers.DDPMScheduler(beta_schedule=name, beta_start=0.00085, beta_end=0.012)
    expected = sigmas_of(reference.alphas_cumprod.double()).float()
    got = DiscreteNoise.from_betas(betas(name)).sigmas
    # the reference multiplies 1000 alphas in fp32, we in fp64
    assert torch.allclose(got, expected, rtol=2e-3 if name == "squaredcos_cap_v2" else 1e-4)
    assert torch.allclose(betas(name).float(), reference.betas, rtol=1e-4)


def test_zero_terminal_snr() -> None:
    rescaled = rescale_zero_terminal_snr(betas("scaled_linear").float()).double()
    expected = torch.cumprod(1 - rescaled, 0)
    got = 1 / (zero_terminal_snr(sd().sigmas).double() ** 2 + 1)
    assert torch.allclose(got[:-1], expected[:-1], atol=1e-5)
    assert expected[-1] == 0 and 0 < got[-1] < 1e-7


@pytest.mark.parametrize("steps", [5, 10, 28, 38])
@pytest.mark.parametrize(("spacing", "offset"), [("leading", 0), ("leading", 1), ("linspace", 0), ("trailing", 0)])
def test_spacings(spacing: str, offset: int, steps: int) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    got = schedules.spaced(sd(), steps, spacing, offset)
    if spacing == "linspace" and 999 % (steps - 1):
        # between two timesteps the reference interpolates sigma, we log sigma
        assert torch.allclose(got, scheduler.sigmas, rtol=1e-3)
    else:
        assert torch.allclose(got, scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize("steps", [5, 10, 20, 50])
def test_names_for_the_same_thing(steps: int) -> None:
    """Where steps divide 1000 some of our schedulers are diffusers spacings under another name."""
    for name, spacing, offset in [("simple", "trailing", 0), ("ddim_uniform", "leading", 1)]:
        scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing=spacing, steps_offset=offset)
        scheduler.set_timesteps(steps)
        assert torch.allclose(schedules.schedule(name, sd(), steps), scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize("steps", [28, 38])
def test_normal_is_linspace(steps: int) -> None:
    scheduler = diffusers.EulerDiscreteScheduler(**SD, timestep_spacing="linspace")
    scheduler.set_timesteps(steps)
    assert torch.allclose(schedules.schedule("normal", sd(), steps), scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize(("option", "make"), [("use_karras_sigmas", curves.karras), ("use_exponential_sigmas", curves.exponential),
                                              ("use_lu_lambdas", curves.lu_lambdas)])  # fmt: skip
def test_sigma_options(option: str, make: Any) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(**SD, **{option: True})
    scheduler.set_timesteps(12)
    table = sd()
    assert torch.allclose(make(12, table.sigma_min, table.sigma_max)[:-1], scheduler.sigmas[:-1], rtol=2e-3)


def test_custom_timesteps() -> None:
    timesteps = [999, 845, 730, 587, 443, 310, 193, 116, 53, 13]
    scheduler = diffusers.EulerDiscreteScheduler(**SD)
    scheduler.set_timesteps(timesteps=timesteps)
    assert torch.allclose(schedules.of_timesteps(sd(), list(map(float, timesteps))), scheduler.sigmas, rtol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_shift(shift: float) -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)
    noise = flow_noise(shift)
    assert torch.allclose(noise.sigmas.flip(0), scheduler.sigmas, atol=1e-6)


def test_flow_mu() -> None:
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.1, 10), mu=1.15)
    t = torch.linspace(1.0, 0.1, 10)
    noise = flow_noise(mu=1.15, multiplier=1.0, count=10000)
    assert torch.allclose(noise.sigma(t), scheduler.sigmas[:-1], atol=1e-6)
    assert len(noise.sigmas) == 10000 and noise.sigma_max == pytest.approx(1.0)


def test_aligned_steps_are_diffusers() -> None:
    for ours, theirs in {"SD1": "StableDiffusion", "SDXL": "StableDiffusionXL", "SVD": "StableDiffusionVideo"}.items():
        found = diffusers.schedulers.AysSchedules[f"{theirs}Sigmas"]
        assert schedules.ALIGNED[ours][:-1] == pytest.approx(found[:10], abs=4e-3), ours  # theirs are rounded, and 0 replaces their last


@pytest.mark.parametrize(("steps", "width", "height"), [(4, 1024, 1024), (20, 1248, 832), (28, 2048, 2048)])
def test_schedules_of_flow_models(steps: int, width: int, height: int) -> None:
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu
    from diffusers.pipelines.ideogram4.pipeline_ideogram4 import _logit_normal_sigmas, _resolution_aware_mu

    bend = np.exp(compute_empirical_mu(width * height // 256, steps))
    time = np.linspace(1, 1 / steps, steps)
    expected = bend / (bend + (1 / time - 1))
    assert curves.resolution_shifted(steps, width * height // 256).tolist() == pytest.approx([*expected, 0], abs=1e-6)
    mu = _resolution_aware_mu(height, width, 0.5)
    assert curves.logit_normal(steps, mu, 1.75).tolist() == pytest.approx([*_logit_normal_sigmas(steps, mu, 1.75).tolist(), 0], abs=1e-6)

"""Noise models: clocks that invert, percentages, and predictions that agree about the same net."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from backend.diffusion import noise as n

VE = [n.eps(), n.v(), n.edm(1.0), n.edm(0.5), n.v(0.5), n.x0(), n.cosmos_flow()]


def sd() -> n.DiscreteNoise:
    return n.DiscreteNoise.from_betas(n.betas("scaled_linear"))


def models() -> list[n.NoiseModel]:
    return [sd(), n.DiscreteNoise.from_betas(n.betas("linear", start=0.0001, end=0.02), n.v(), zero_snr=True), n.continuous_edm(),
            n.continuous_v(), n.cosmos_noise(), n.flow_noise(), n.flow_noise(3.0), n.flow_noise(mu=1.15, multiplier=1.0, count=10000),
            n.DistilledNoise.of(sd())]  # fmt: skip


def test_the_known_ends_of_stable_diffusion() -> None:
    assert sd().sigma_max == pytest.approx(14.614642, abs=1e-5)
    assert sd().sigma_min == pytest.approx(0.0291675, abs=1e-6)
    assert sd().sigmas.shape == (1000,)


@pytest.mark.parametrize("model", models(), ids=lambda m: f"{type(m).__name__}-{m.prediction.name}-{m.sigma_max:.3g}")
def test_clock_inverts(model: n.NoiseModel) -> None:
    assert (model.sigmas.diff() > 0).all()
    some = model.sigmas[:: max(1, len(model.sigmas) // 7)]
    if isinstance(model, n.Flow):  # its clock is sigma itself, `sigma` also bends
        assert torch.allclose(model.timestep(some), some * model.multiplier)
        assert float(model.sigma(torch.tensor(model.multiplier))) == pytest.approx(1.0)
    else:
        assert torch.allclose(model.sigma(model.timestep(some)), some, rtol=1e-3)


@pytest.mark.parametrize("model", models(), ids=lambda m: f"{type(m).__name__}-{m.prediction.name}-{m.sigma_max:.3g}")
def test_percent_falls_from_before_all_to_zero(model: n.NoiseModel) -> None:
    assert model.percent_to_sigma(0.0) >= model.sigma_max - 1e-6
    assert model.percent_to_sigma(1.0) == 0.0
    values = [model.percent_to_sigma(p / 20) for p in range(21)]
    assert all(a >= b for a, b in pairwise(values))
    assert values[1] <= model.sigma_max + 1e-6


def test_percent_to_sigma_of_the_discrete_model() -> None:
    assert sd().percent_to_sigma(0) == 999999999.9
    assert sd().percent_to_sigma(-1) == 999999999.9
    assert sd().percent_to_sigma(0.5) == pytest.approx(float(sd().sigma(torch.tensor(499.5))))
    assert n.flow_noise(3.0).percent_to_sigma(0) == 1.0
    assert n.flow_noise(3.0).percent_to_sigma(0.5) == pytest.approx(0.75)


@given(st.floats(0.03, 14.6))
def test_nearest_and_continuous_clocks_agree_to_half_a_step(sigma: float) -> None:
    near, between = sd(), n.DiscreteNoise(n.eps(), sd().sigmas, nearest=False)
    s = torch.tensor([sigma])
    assert abs(float(near.timestep(s)) - float(between.timestep(s))) <= 0.5 + 1e-2
    assert float(between.sigma(between.timestep(s))) == pytest.approx(sigma, rel=1e-3)


@pytest.mark.parametrize("prediction", VE, ids=lambda p: p.name)
def test_a_perfect_net_recovers_the_clean_latent(prediction: n.Prediction) -> None:
    """What the net would have to put out for x0 is consistent: denoised(x, that) is x0 again, and inputs have unit scale."""
    g = torch.Generator().manual_seed(0)
    clean, eps = torch.randn(3, 4, 2, 2, generator=g), torch.randn(3, 4, 2, 2, generator=g)
    sigma = torch.tensor([0.05, 1.0, 20.0])
    a, b = prediction.blend(sigma.reshape(3, 1, 1, 1))
    x = a * clean + b * eps
    s = sigma.reshape(3, 1, 1, 1)
    output = (clean - x * prediction.skip(s)) / prediction.out(s)
    assert torch.allclose(prediction.denoised(x, output, sigma), clean, atol=1e-4)


def test_eps_and_v_targets() -> None:
    clean, eps = torch.randn(2, 4, 2, 2), torch.randn(2, 4, 2, 2)
    sigma = torch.tensor([0.5, 3.0])
    s = sigma.reshape(2, 1, 1, 1)
    x, alpha = clean + s * eps, (1 + s * s).rsqrt()
    assert torch.allclose(n.eps().denoised(x, eps, sigma), clean, atol=1e-5)
    assert torch.allclose(n.v().denoised(x, alpha * eps - alpha * s * clean, sigma), clean, atol=1e-5)
    flow_x = (1 - sigma.clamp(max=0.9).reshape(2, 1, 1, 1)) * clean + sigma.clamp(max=0.9).reshape(2, 1, 1, 1) * eps
    assert torch.allclose(n.flow().denoised(flow_x, eps - clean, sigma.clamp(max=0.9)), clean, atol=1e-5)
    assert n.flow().flow and not n.eps().flow


def test_starting_latents() -> None:
    clean, eps = torch.randn(1, 4, 2, 2), torch.randn(1, 4, 2, 2)
    model = sd()
    assert torch.allclose(model.noised(clean, eps, 1.0), clean + eps)
    top = model.sigma_max
    assert torch.allclose(model.noised(clean, eps, top), clean + eps * math.sqrt(1 + top * top))
    assert torch.allclose(n.flow_noise().noised(clean, eps, 0.25), 0.75 * clean + 0.25 * eps)


def test_a_flow_that_stops_early_is_unscaled() -> None:
    x = torch.randn(1, 4, 2, 2)
    assert torch.allclose(n.flow_noise().unscaled(x, 0.25), x / 0.75)
    assert n.flow_noise().unscaled(x, 1.0) is x
    assert sd().unscaled(x, 3.0) is x


def test_distilled_timesteps_are_every_twentieth() -> None:
    model = n.DistilledNoise.of(sd())
    assert len(model.sigmas) == 50
    assert model.timestep(model.sigmas).tolist() == list(range(19, 1000, 20))
    assert torch.allclose(model.sigmas, sd().sigmas[19::20])


def test_scalar_sigma_works_as_a_batch_of_one() -> None:
    x, out = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    for p in VE:
        assert torch.allclose(p.denoised(x, out, torch.tensor(2.0)), p.denoised(x, out, torch.tensor([2.0, 2.0])))


def test_unknown_betas() -> None:
    with pytest.raises(ValueError, match="no beta schedule"):
        n.betas("cosine?")

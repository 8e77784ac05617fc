"""Stochastic solvers leave samples of the right mean and variance, and the same seed gives the same samples."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.diffusion.path import RECTIFIED_FLOW, VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import BrownianNoise, SeededNoise
from backend.diffusion.samplers import SAMPLERS
from backend.diffusion.samplers.solver import ancestral, renoise
from tests.diffusion.test_orders import MEAN, VARIANCE, posterior

SIDE = 80

STOCHASTIC: list[tuple[str, dict[str, Any]]] = [
    ("euler_ancestral", {"eta": 0.5}), ("heun", {"s_churn": 20.0}),
    ("dpm_2_ancestral", {}), ("dpmpp_2s_ancestral", {}), ("dpmpp_2s_ancestral", {"eta": 0.5}), ("dpmpp_sde", {}), ("dpmpp_2m_sde", {}),
    ("dpmpp_2m_sde", {"eta": 0.5}), ("dpmpp_2m_sde_heun", {}), ("dpmpp_3m_sde", {}), ("res_multistep_ancestral", {}),
    ("er_sde", {}), ("er_sde", {"solver_type": "Reverse-time SDE", "eta": 0.7}), ("seeds_2", {}), ("seeds_3", {}), ("sa_solver", {}),
    ("sa_solver_pece", {}), ("dpm_fast", {"eta": 0.7}), ("dpmpp_2s_ancestral_cfg_pp", {}),
]  # fmt: skip


def moments(name: str, options: dict[str, Any], path: Path, steps: int) -> tuple[float, float]:
    first, last = (1.0, 0.02) if path.flow else (20.0, 0.02)
    sigmas = torch.linspace(first, last, steps) if path.flow else torch.linspace(math.log(first), math.log(last), steps).exp()
    if name != "dpm_fast":
        sigmas = torch.cat([sigmas, torch.zeros(1)])
    a = path.alpha(first)
    x = a * MEAN + torch.randn(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * math.sqrt(a * a * VARIANCE + first**2)
    out = SAMPLERS[name](posterior(path), x, sigmas, noise=SeededNoise(4), path=path, **options)
    return float(out.mean()), float(out.var())


@pytest.mark.parametrize(("name", "options"), STOCHASTIC, ids=str)
def test_moments(name: str, options: dict[str, Any]) -> None:
    mean, variance = moments(name, options, VARIANCE_EXPLODING, 50)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert variance == pytest.approx(VARIANCE, rel=0.1)


FIRST_ORDER = [("euler_ancestral", {}), ("ddpm", {}), ("euler_ancestral_cfg_pp", {}), ("euler", {"s_churn": 20.0})]


@pytest.mark.parametrize(("name", "options"), FIRST_ORDER, ids=str)
def test_first_order_bias_goes_away(name: str, options: dict[str, Any]) -> None:
    """These lose variance in proportion to the step; four times the steps must leave less than half the loss."""
    (_, coarse), (mean, fine) = (moments(name, options, VARIANCE_EXPLODING, n) for n in (40, 160))
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert abs(fine - VARIANCE) < 0.5 * abs(coarse - VARIANCE) < 0.05


ON_FLOWS = ["euler_ancestral", "dpm_2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde", "er_sde", "seeds_2",
            "seeds_3", "sa_solver", "euler_ancestral_cfg_pp"]  # fmt: skip


@pytest.mark.parametrize("name", ON_FLOWS)
def test_moments_on_a_flow(name: str) -> None:
    mean, variance = moments(name, {}, RECTIFIED_FLOW, 60)
    assert mean == pytest.approx(MEAN, abs=0.02)
    assert variance == pytest.approx(VARIANCE, rel=0.1)


@given(st.floats(0.01, 50), st.floats(0.01, 0.99), st.floats(0, 1))
def test_ancestral_variances_add_up(sigma: float, share: float, eta: float) -> None:
    down, up = ancestral(sigma, sigma * share, eta)
    assert down >= 0 and up >= 0
    assert math.hypot(down, up) == pytest.approx(sigma * share)


@given(st.floats(0.02, 1), st.floats(0.01, 0.99), st.floats(0, 1))
def test_flow_renoising_restores_both_parts(sigma: float, share: float, eta: float) -> None:
    after = sigma * share
    down, scale, up = renoise(RECTIFIED_FLOW, sigma, after, eta)
    assert (1 - down) * scale == pytest.approx(1 - after)
    assert math.hypot(down * scale, up) == pytest.approx(after)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_noise_is_a_function_of_the_seed(seed: int) -> None:
    x = torch.zeros(1, 4, 3, 3)
    a, b = SeededNoise(seed).gaussian(x), SeededNoise(seed).gaussian(x)
    assert torch.equal(a(2.0, 1.0), b(2.0, 1.0))
    assert not torch.equal(a(1.0, 0.5), b(2.0, 1.0) * 0)
    c, d = (SeededNoise(seed).brownian(x, 0.1, 10.0) for _ in range(2))
    assert torch.equal(c(5.0, 2.0), d(5.0, 2.0))


def test_step_noise_is_the_cpu_generator_at_the_next_seed() -> None:
    """What the ecosystem draws: `seed + 1` on the CPU, so that it is not the starting noise again."""
    x = torch.zeros(2, 4, 3, 3)
    expected = torch.randn(x.shape, generator=torch.Generator().manual_seed(8))
    assert torch.equal(SeededNoise(7).gaussian(x)(1.0, 0.5), expected)


def test_noise_leaves_the_global_generator_alone() -> None:
    x = torch.zeros(1, 4, 3, 3)
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    SeededNoise(1).gaussian(x)(1.0, 0.5)
    SeededNoise(1).brownian(x, 0.1, 2.0)(1.0, 0.5)
    assert torch.equal(before, torch.random.get_rng_state())


def test_brownian_path_is_one_path() -> None:
    """Increments over neighbouring intervals add up to the increment over both, and are unit normal."""
    x = torch.zeros(1, 1, 150, 150)
    w = BrownianNoise(x, 0.1, 10.0, 3)
    one, two, both = w(9.0, 4.0), w(4.0, 1.0), w(9.0, 1.0)
    assert torch.allclose(one * 5**0.5 + two * 3**0.5, both * 8**0.5, atol=1e-4)
    for part in (one, two, both):
        assert float(part.mean()) == pytest.approx(0, abs=0.03)
        assert float(part.std()) == pytest.approx(1, abs=0.03)


NO_NOISE = ["euler", "dpmpp_2m", "heun", "lms", "deis", "uni_pc", "res_multistep", "gradient_estimation", "euler_cfg_pp"]


@pytest.mark.parametrize("name", NO_NOISE)
def test_deterministic_solvers_ignore_the_seed(name: str) -> None:
    x, sigmas = torch.randn(1, 1, 4, 4) * 10, torch.tensor([10.0, 4.0, 1.0, 0.3, 0.0])
    a, b = (SAMPLERS[name](posterior(VARIANCE_EXPLODING), x, sigmas, noise=SeededNoise(s)) for s in (1, 2))
    assert torch.equal(a, b)

"""Schedulers: their names, lengths and ends, and the rules around them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.base.errors import BadInput
from backend.diffusion import curves, gits, schedules
from backend.diffusion.noise import DiscreteNoise, NoiseModel, betas, flow_noise
from backend.diffusion.samplers import EXTRA, SAMPLERS, solver

SHARED = Path(__file__).resolve().parents[3] / "shared"


def sd() -> DiscreteNoise:
    return DiscreteNoise.from_betas(betas("scaled_linear"))


MODELS: dict[str, NoiseModel] = {"sd": sd(), "flow": flow_noise(3.0)}


@pytest.mark.skipif(not (SHARED / "object_info.json").exists(), reason="the published node list is not in this checkout")
def test_the_published_lists() -> None:
    info = json.loads((SHARED / "object_info.json").read_text())["KSampler"]["input"]["required"]
    assert list(SAMPLERS) == info["sampler_name"][0]
    assert list(schedules.SCHEDULERS) == info["scheduler"][0]
    assert not set(EXTRA) & set(SAMPLERS)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(list(schedules.SCHEDULERS)), st.integers(2, 60), st.sampled_from(list(MODELS)))
def test_shape(name: str, steps: int, which: str) -> None:
    model = MODELS[which]
    sigmas = schedules.schedule(name, model, steps)
    assert sigmas.dtype == torch.float32 and sigmas.device.type == "cpu"
    assert sigmas[-1] == 0
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] <= model.sigma_max * (1 + 1e-5)
    if name == "ddim_uniform":
        assert len(sigmas) >= steps + 1
    elif name == "beta":
        assert len(sigmas) <= steps + 1
    else:
        assert len(sigmas) == steps + 1


@pytest.mark.parametrize("name", schedules.SCHEDULERS)
def test_one_step(name: str) -> None:
    sigmas = schedules.schedule(name, sd(), 1)
    assert torch.isfinite(sigmas).all() and sigmas[-1] == 0 and len(sigmas) >= 2


@pytest.mark.parametrize("name", ["simple", "sgm_uniform", "karras", "exponential", "beta", "normal", "linear_quadratic", "kl_optimal"])
def test_starts_at_the_top(name: str) -> None:
    assert float(schedules.schedule(name, sd(), 12)[0]) == pytest.approx(14.614642, rel=1e-5)


def test_beta_by_its_quantiles() -> None:
    """Against the distribution's own cumulative function, inverted by search."""
    from scipy.stats import beta

    sigmas = schedules.schedule("beta", sd(), 5)
    for i, sigma in enumerate(sigmas[:-1]):
        index = int((sd().sigmas - sigma).abs().argmin())
        assert beta.cdf((index + 0.5) / 999, 0.6, 0.6) >= 1 - i / 5 - 1e-9 or index == 999
        assert beta.cdf((index - 0.5) / 999, 0.6, 0.6) <= 1 - i / 5 + 1e-9


def test_linear_quadratic_halves() -> None:
    gone = 1 - schedules.schedule("linear_quadratic", sd(), 10) / sd().sigma_max
    assert torch.allclose(gone[:6].diff(), torch.full((5,), 0.005), atol=1e-5)
    assert torch.allclose(gone[5:].diff().diff(), gone[5:].diff().diff()[0].expand(4), atol=1e-5)
    assert schedules.schedule("linear_quadratic", flow_noise(), 1).tolist() == [1.0, 0.0]


def test_kl_optimal_is_even_in_angle() -> None:
    angles = schedules.schedule("kl_optimal", sd(), 9)[:-1].double().atan()
    assert torch.allclose(angles.diff(), angles.diff()[0].expand(8), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.floats(0.05, 1.0))
def test_denoise_keeps_the_last_steps(steps: int, denoise: float) -> None:
    sigmas = schedules.sampling_sigmas(sd(), "karras", steps, denoise=denoise)
    assert len(sigmas) == steps + 1
    planned = steps if denoise > 0.9999 else int(steps / denoise)
    assert torch.equal(sigmas, schedules.schedule("karras", sd(), planned)[-(steps + 1) :])


def test_no_denoise_no_sigmas() -> None:
    assert len(schedules.sampling_sigmas(sd(), "normal", 20, denoise=0.0)) == 0


@pytest.mark.parametrize("sampler", ["dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"])
def test_penultimate_sigma_is_dropped(sampler: str) -> None:
    sigmas = schedules.sampling_sigmas(sd(), "karras", 10, sampler)
    whole = schedules.schedule("karras", sd(), 11)
    assert sigmas.tolist() == [*whole[:-2].tolist(), 0.0]
    assert len(sigmas) == 11


def test_turbo() -> None:
    assert schedules.turbo(sd(), 1).tolist() == [pytest.approx(14.614642), 0.0]
    assert torch.allclose(schedules.turbo(sd(), 3, 0.5)[:-1], sd().sigmas[[499, 399, 299]])


def test_laplace_is_symmetric_in_log_sigma() -> None:
    sigmas = curves.laplace(11, 0.03, 14.6)
    assert len(sigmas) == 11 and sigmas[0] == pytest.approx(14.6) and sigmas[-1] == pytest.approx(0.03)
    assert torch.allclose(sigmas[2:9].log(), -sigmas[2:9].flip(0).log(), atol=1e-4)


def test_gits() -> None:
    assert schedules.gits(0.8, 2).tolist() == pytest.approx([14.61464119, 7.49001646, 0])
    assert torch.equal(schedules.gits(1.22, 7), schedules.gits(1.2, 7)), "the nearest coefficient there is"
    for coefficient in gits.COEFFICIENTS:
        for steps in range(2, gits.LONGEST + 1):
            row = gits.levels(coefficient, steps)
            assert len(row) == steps + 1 and list(row) == sorted(set(row), reverse=True)
            assert (row[0], row[-1]) == (gits.LEVELS[0], gits.LEVELS[-1])
    more = schedules.gits(1.2, 40)
    assert len(more) == 41 and torch.allclose(more[:-1:2], schedules.gits(1.2, 20)[:-1])
    assert len(schedules.gits(1.2, 10, 0.5)) == 6
    assert len(schedules.gits(1.2, 10, 0.0)) == 0


def test_align_your_steps() -> None:
    for model, table in schedules.ALIGNED.items():
        assert torch.allclose(schedules.align_your_steps(model, 10)[:-1], torch.tensor(table[:-1]))
        twice = schedules.align_your_steps(model, 20)
        assert torch.allclose(twice[:-1:2], torch.tensor(table[:-1]), rtol=1e-4)
    assert len(schedules.align_your_steps("SD1", 20, 0.5)) == 11
    assert len(schedules.align_your_steps("SD1", 20, 0.0)) == 0


def test_split_and_flip() -> None:
    sigmas = curves.karras(4, 0.1, 10.0)
    high, low = curves.split(sigmas, 2)
    assert high[-1] == low[0] and len(high) + len(low) == len(sigmas) + 1
    high, low = curves.split_denoise(sigmas, 0.5)
    assert len(low) == 3 and high[-1] == low[0]
    assert curves.flipped(sigmas)[0] == pytest.approx(0.0001)
    assert torch.equal(curves.flipped(sigmas)[1:], sigmas.flip(0)[1:])
    assert len(curves.flipped(torch.empty(0))) == 0


@pytest.mark.parametrize("spacing", ["linear", "cosine", "sine"])
def test_extend(spacing: str) -> None:
    sigmas = torch.tensor([14.0, 10.0, 4.0, 0.0])
    longer = curves.extend(sigmas, 3, 12.0, 3.0, spacing)
    assert len(longer) == 4 + 2 * 2
    assert (longer.diff() < 0).all() and set(sigmas.tolist()) <= set(longer.tolist())


def test_errors_name_the_choices() -> None:
    with pytest.raises(BadInput, match="no scheduler named 'fast'") as caught:
        schedules.schedule("fast", sd(), 3)
    assert "karras" in caught.value.hint
    with pytest.raises(BadInput, match="at least 1 step"):
        schedules.schedule("karras", sd(), 0)
    with pytest.raises(BadInput, match="no sampler named"):
        solver("eular")


def test_log_interpolate_keeps_straight_lines() -> None:
    line = torch.linspace(math.log(10), math.log(0.1), 5).exp().tolist()
    assert torch.allclose(curves.log_interpolate(line, 9).log(), torch.linspace(math.log(10), math.log(0.1), 9), atol=1e-5)

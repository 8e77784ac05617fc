"""Guidance by two models, louder noise, and consistency sampling with options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import BasicGuider, CfgGuider, TwoModelGuider
from backend.diffusion.latent import LatentFormat
from backend.diffusion.noise import flow_noise
from backend.diffusion.path import Path as NoisePath
from backend.diffusion.randomness import GivenNoise
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import SAMPLERS, solver
from backend.diffusion.schedules import schedule
from backend.memory.pool import Loadable
from backend.nn.layers import init_weights
from nodes.custom_sampling import dual_model_guider
from nodes.model_advanced import model_noise_scale, model_sampling_aura_flow, model_sampling_sd3
from tests.diffusion.toy import ToyFamily, ToyNet, cond, toy_model, toy_pool
from tests.nodes.bench import Bench

ZEROS = torch.zeros(1, 4, 8, 8)


def other_model() -> object:
    torch.manual_seed(9)
    model = toy_model(flow_noise(3.0))
    return replace(model, loadable=Loadable("other", ToyNet, dict(init_weights(ToyNet()).state_dict()), dtype=torch.float32))


def run(guider: object, **options: object) -> Tensor:
    model = guider.model  # type: ignore[attr-defined]
    return sample(guider, prepare_noise(ZEROS, 3), ZEROS, solver("euler"), schedule("simple", model.noise, 3), pool=toy_pool(), **options)


def test_the_other_model_answers_the_negative() -> None:
    """Against the formula at one step, and against plain guidance where both models are the same."""
    model, other = toy_model(flow_noise(3.0)), other_model()
    sigmas = torch.tensor([1.0, 0.0])
    noise = prepare_noise(ZEROS, 3)

    def once(guider: object) -> Tensor:
        return sample(guider, noise, ZEROS, solver("euler"), sigmas, pool=toy_pool())

    good, bad = once(BasicGuider(model, cond(1))), once(BasicGuider(other, cond(2)))
    assert torch.allclose(once(TwoModelGuider(model, cond(1), cond(2), 3.0, other)), bad + 3 * (good - bad), atol=1e-5)
    same = TwoModelGuider(model, cond(1), cond(2), 3.0, model)
    assert torch.allclose(run(same), run(CfgGuider(model, cond(1), cond(2), 3.0)), atol=1e-6)


def test_at_no_guidance_the_other_model_never_runs() -> None:
    family = ToyFamily([])
    other = replace(other_model(), family=family)
    run(TwoModelGuider(toy_model(flow_noise(3.0)), cond(1), cond(2), 1.0, other))
    assert family.calls == []


def test_the_node_and_what_it_refuses(tmp_path: Path) -> None:
    ctx, model = Bench(tmp_path).context(), toy_model(flow_noise(3.0))
    assert isinstance(dual_model_guider(ctx, model=model, positive=cond(1), cfg=4.0), BasicGuider)
    alone = dual_model_guider(ctx, model=model, positive=cond(1), cfg=4.0, model_negative=other_model())
    assert alone.negative is alone.positive
    wide = replace(model, family=ToyFamily([], LatentFormat(channels=16)))
    with pytest.raises(BadInput, match="work on different latents"):
        dual_model_guider(ctx, model=model, positive=cond(1), cfg=4.0, model_negative=wide)


def test_louder_noise(tmp_path: Path) -> None:
    """Twice the start and, for a sampler that adds noise, twice what it draws."""
    ctx = Bench(tmp_path).context()
    model = toy_model(flow_noise(3.0))
    loud = model_noise_scale(ctx, model=model, noise_scale=2.0)
    sigmas = torch.tensor([1.0, 0.5, 0.0])
    noise = prepare_noise(ZEROS, 3)
    drawn = GivenNoise(lambda sigma, sigma_next: torch.ones(1, 4, 8, 8))
    twice = GivenNoise(lambda sigma, sigma_next: torch.full((1, 4, 8, 8), 2.0))
    got = sample(BasicGuider(loud, cond(1)), noise, ZEROS, solver("lcm"), sigmas, pool=toy_pool(), source=drawn)
    want = sample(BasicGuider(model, cond(1)), noise * 2, ZEROS, solver("lcm"), sigmas, pool=toy_pool(), source=twice)
    assert torch.equal(got, want)


def test_consistency_sampling_with_options() -> None:
    x, sigmas = torch.ones(1, 1, 10, 10), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0])
    torch.manual_seed(0)
    noise = [torch.randn(1, 1, 10, 10) for _ in range(3)]
    seen: list[Tensor] = []

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    given = iter(noise)
    source = GivenNoise(lambda sigma, sigma_next: next(given))
    SAMPLERS["lcm"](model, x, sigmas, noise=source, path=NoisePath(True), s_noise=1.0, s_noise_end=2.0, clip=1.5)
    for got, drawn, sigma, strength in zip(seen[1:], noise, (0.75, 0.5, 0.25), (1.0, 1.5, 2.0), strict=True):
        most = 1.5 * drawn.std()
        assert torch.allclose(got, drawn.clamp(-most, most) * sigma * strength, atol=1e-6)


def test_a_shift_leaves_the_clock_of_a_flow(tmp_path: Path) -> None:
    ctx = Bench(tmp_path).context()
    short, plain = toy_model(flow_noise(1.0, 1.0)), toy_model()
    assert model_sampling_sd3(ctx, model=short, shift=3.0).noise.multiplier == 1.0
    assert model_sampling_sd3(ctx, model=plain, shift=3.0).noise.multiplier == 1000.0
    assert model_sampling_aura_flow(ctx, model=plain, shift=3.0).noise.multiplier == 1.0

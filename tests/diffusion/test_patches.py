"""Patches of how a net runs, on a tiny UNet: what must not change stays, what is skipped is skipped."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.noise import DiscreteNoise, betas
from backend.diffusion.patches import deep_cache, easy_cache, guided, shrink, tgate, tokens, weights
from backend.diffusion.patches.differential import differential
from backend.diffusion.patches.seamless import seamless
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families.sd import SD1_FAMILY
from backend.families.sd.unet import UNet, UNetSizes
from backend.imaging.resize import resize
from backend.memory.pool import Loadable, Pool
from backend.nn.layers import init_weights
from tests.diffusion.toy import toy_model

SIZES = UNetSizes(channels=(32, 64, 64), res_blocks=(1, 1, 1), depth_in=(1, 1, 0), depth_out=(0, 0, 1, 1, 1, 1), context=24, heads=8)
SIGMAS = torch.tensor([14.0, 8.0, 5.0, 3.0, 2.0, 1.0, 0.5, 0.0])


@functools.cache
def unet() -> ModelHandle:
    state = torch.random.get_rng_state()
    torch.manual_seed(3)
    net = init_weights(UNet(SIZES))
    torch.random.set_rng_state(state)
    loadable = Loadable("tiny", functools.partial(UNet, SIZES), dict(net.state_dict()))
    return ModelHandle(loadable, SD1_FAMILY, SIZES, DiscreteNoise.from_betas(betas("scaled_linear")))


def prompt(seed: int) -> list[Any]:
    return [[torch.randn(1, 7, 24, generator=torch.Generator().manual_seed(seed)), {}]]


def run(model: ModelHandle, size: tuple[int, int] = (16, 24), **options: Any) -> Tensor:
    shape = (1, 4, *size)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    guider = CfgGuider(model, prompt(1), prompt(2), 3.0)
    return sample(guider, noise, torch.zeros(shape), solver("euler"), SIGMAS, pool=options.pop("pool", Pool("cpu")), **options)


class Counting:
    """Counts runs of the net and of its blocks."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.blocks = 0

    def forward(self, inner: Any, x: Tensor, t: Tensor, inputs: Any) -> Tensor:
        self.rows.append(x.shape[0])
        return inner(x, t, inputs)

    def block(self, call: Any, h: Tensor, facts: Any) -> Tensor:
        self.blocks += 1
        return call(h)

    def on(self, model: ModelHandle) -> ModelHandle:
        # innermost, so that what others skip is not counted
        taps = {
            "forward": (self.forward, *model.taps.get("forward", ())),
            "block_around": (self.block, *model.taps.get("block_around", ())),
        }
        return ModelHandle(model.loadable, model.family, model.sizes, model.noise, model.patches, {**model.taps, **taps})


def test_hypertile_of_one_tile_changes_nothing_and_two_do() -> None:
    plain = run(unet())
    assert torch.equal(run(tokens.hypertile(unet(), 2048, 1, 0, False)), plain)
    tiled = run(tokens.hypertile(unet(), 64, 1, 1, False))
    assert not torch.allclose(tiled, plain, atol=1e-3)
    assert torch.equal(tiled, run(tokens.hypertile(unet(), 64, 1, 1, False)))


def test_hypertile_attends_within_tiles() -> None:
    tap = tokens.HyperTile(4, 1, 0, False)
    x = torch.arange(8 * 12, dtype=torch.float32).reshape(1, 96, 1)
    q, k, v = tap.split(x, x, x, {"original_shape": [1, 4, 8, 12]})
    assert q.shape == (6, 16, 1) and torch.equal(k, v)
    assert torch.equal(q[1, :, 0], x.reshape(8, 12)[:4, 4:8].flatten())
    assert torch.equal(tap.join(q, {}), x)


def test_merging_against_a_slow_version() -> None:
    x = torch.randn(2, 6 * 4, 5)
    found = tokens.match(x, 4, 6, 7)
    targets = [y * 6 + c for y in (0, 2) for c in (0, 2, 4)]
    assert found.b.tolist() == targets and found.gone.shape == (2, 7)
    for b in range(2):
        unit = x[b] / x[b].norm(dim=-1, keepdim=True)
        best = {i: max((float(unit[i] @ unit[j]), j) for j in targets) for i in range(24) if i not in targets}
        gone = sorted(best, key=lambda i: -best[i][0])[:7]
        assert sorted(found.gone[b].tolist()) == sorted(gone)
        merged = found.merge(x)
        for n, j in enumerate(targets):
            members = [j, *(i for i in gone if best[i][1] == j)]
            assert torch.allclose(merged[b, 24 - 7 - 6 + n], x[b, members].mean(0), atol=1e-6)
        back = found.unmerge(merged)
        for i in gone:
            assert torch.equal(back[b, i], back[b, best[i][1]])
        for i in set(best) - set(gone):
            assert torch.equal(back[b, i], x[b, i])


def test_merging_a_part_is_close_to_the_whole() -> None:
    plain = run(unet())
    assert torch.equal(run(tokens.merge_tokens(unet(), 0.0)), plain)
    merged = run(tokens.merge_tokens(unet(), 0.3))
    assert 1e-5 < (merged - plain).abs().mean() < 0.2 * plain.abs().mean()


@pytest.mark.parametrize("after_skip", [True, False])
def test_deep_shrink_runs_smaller_maps_for_a_while(after_skip: bool) -> None:
    seen: list[tuple[int, ...]] = []

    def look(h: Tensor, facts: Any) -> Tensor:
        seen.append(tuple(h.shape[-2:]))
        return h

    grow = functools.partial(resize, method="bilinear")
    model = shrink.deep_shrink(unet(), 2, 2.0, 0.0, 0.35, after_skip, grow, grow).with_tap("middle_block_patch", look)
    made = run(model)
    assert made.shape == (1, 4, 16, 24) and bool(made.isfinite().all())
    assert seen[0] == (2, 3) and seen[-1] == (4, 6)


def test_deep_cache_runs_outer_blocks_only() -> None:
    whole, outer = Counting(), Counting()
    plain = run(whole.on(unet()))
    assert torch.equal(run(Counting().on(deep_cache.deep_cache(unet(), 1, 1, 0.0, 1.0))), plain)
    cached = run(outer.on(deep_cache.deep_cache(unet(), 3, 1, 0.0, 1.0)))
    assert whole.blocks == 13 * 7  # 6 input, 1 middle, 6 output
    assert outer.blocks == 13 * 3 + 2 * 4
    assert (cached - plain).abs().mean() < 0.3 * plain.abs().mean()
    with pytest.raises(BadInput, match="more than 6"):
        deep_cache.deep_cache(unet(), 3, 6, 0.0, 1.0)
    with pytest.raises(BadInput, match="toy has 0"):
        deep_cache.deep_cache(toy_model(), 3, 1, 0.0, 1.0)


def test_tgate_stops_the_negative_prompt() -> None:
    counting = Counting()
    gated = tgate.tgate(counting.on(unet()), 0.5)
    made = run(gated)
    assert counting.rows[0] == 2 and counting.rows[-1] == 1
    assert bool(made.isfinite().all())
    assert torch.equal(run(gated), made)
    assert torch.equal(run(tgate.tgate(unet(), 1.0)), run(unet()))


@pytest.mark.parametrize("cache", [easy_cache.each_answer, easy_cache.whole_steps])
def test_caches_skip_runs(cache: Any) -> None:
    told: list[str] = []
    assert torch.allclose(run(cache(unet(), 0.0, 0.0, 1.0)), run(unet()), atol=1e-4)
    counting = Counting()
    made = run(cache(counting.on(unet()), 0.8, 0.0, 1.0, told.append))
    assert len(counting.rows) < 7 and told == [f"{7 - len(counting.rows)} of 7 predictions were taken from the cache."]
    assert (made - run(unet())).abs().mean() < 0.5 * run(unet()).abs().mean()


def test_seamless_latents_can_be_rolled() -> None:
    """A net without borders gives the rolled answer for a rolled question."""
    model = seamless(unet(), True, True)
    noise = torch.randn(1, 4, 16, 24, generator=torch.Generator().manual_seed(0))
    pool = Pool("cpu")

    def made(noise: Tensor, model: ModelHandle) -> Tensor:
        guider = CfgGuider(model, prompt(1), prompt(2), 3.0)
        return sample(guider, noise, torch.zeros_like(noise), solver("euler"), SIGMAS, pool=pool)

    rolled = made(noise.roll((4, 8), (2, 3)), model)
    assert torch.allclose(rolled, made(noise, model).roll((4, 8), (2, 3)), atol=2e-3)
    assert torch.equal(made(noise, unet()), run(unet()))  # the pool's net is as before


def test_scaled_attention_weights() -> None:
    keys = ["a.attn1.to_q.weight", "a.attn2.to_q.weight", "a.attn1.to_out.0.bias", "b.attn1.to_query.weight"]
    found = weights.scaled(keys, {"attn1.to_q": 2.0, "attn1.to_out.0": 1.0})
    assert [p.key for p in found] == ["a.attn1.to_q.weight"]
    assert torch.equal(found[0].delta(torch.ones(2)), torch.full((2,), 2.0))


def test_differential_masks_open_in_order() -> None:
    model = differential(toy_model())
    (tap,) = model.taps["denoise_mask"]
    mask = torch.linspace(0, 1, 5).reshape(1, 1, 1, 5)
    facts = {"model": model, "sigmas": SIGMAS}
    assert tap(SIGMAS[:1], mask, facts).flatten().tolist() == [0, 0, 0, 0, 1]
    opened = [int(tap(s[None], mask, facts).sum()) for s in SIGMAS[:-1]]
    assert opened == sorted(opened) and 1 < opened[-1] <= 5
    (half,) = differential(toy_model(), 0.5).taps["denoise_mask"]
    assert torch.allclose(half(SIGMAS[:1], mask, facts), mask * 0.5 + tap(SIGMAS[:1], mask, facts) * 0.5)


def test_guidance_in_an_interval_skips_the_negative_outside() -> None:
    counting = Counting()
    model = counting.on(unet())
    at = guided.ramp(model, 3.0, 3.0, "constant", 0.3, 0.7, False)
    run(guided.scheduled(model, at))
    assert counting.rows[0] == 1 and 2 in counting.rows and counting.rows[-1] == 1
    at = guided.ramp(unet(), 8.0, 2.0, "linear", 0.0, 1.0, False)
    assert at(14.6) == pytest.approx(8.0, abs=0.05) and at(0.03) == pytest.approx(2.0, abs=0.05)
    assert run(guided.scheduled(unet(), lambda s: 3.0)).sub(run(unet())).abs().max() < 1e-4


def test_guidance_over_frames() -> None:
    def scales(shape: str) -> list[float]:
        one, zero = torch.ones(5, 4, 2, 2), torch.zeros(5, 4, 2, 2)
        (tap,) = guided.over_frames(toy_model(), 1.0, shape).taps["cfg"]
        guidance = guided.Guidance(zero, torch.ones(5), one, zero, 5.0, toy_model())
        return [float(v) for v in tap(guidance)[:, 0, 0, 0]]

    assert scales("linear") == [1, 2, 3, 4, 5]
    assert scales("triangle") == [1, 3, 5, 3, 1]

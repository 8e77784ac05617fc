"""Hooks: weights that change for one conditioning and from keyframe to keyframe, against models patched as a whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.hooks import Hook, Hooks, Keyframe, difference, together, with_keyframe
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.encoders.hooked import HookedClip
from backend.memory.pool import Pool
from backend.weights.patch import Patch
from nodes import hooks as nodes
from tests.diffusion.toy import cond, toy_model

SIGMAS = torch.tensor([14.0, 7.0, 3.0, 1.0, 0.4, 0.0])
NOISE = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def stronger(model: ModelHandle, strength: float) -> ModelHandle:
    return model.patched(Patch("mix.weight", strength, "test", lambda weight: weight * (1 + strength)))


def hooks(strength: float = 1.0, *frames: Keyframe) -> Hooks:
    return Hooks((Hook(stronger, None, strength, 0.0, frames),))


def run(
    model: ModelHandle, positive: Any, negative: Any, sigmas: Tensor = SIGMAS, noise: Tensor = NOISE, latent: Tensor | None = None
) -> Tensor:
    clean = torch.zeros_like(noise) if latent is None else latent
    return sample(CfgGuider(model, positive, negative, 3.0), noise, clean, solver("euler"), sigmas, pool=Pool("cpu"))


def test_hooks_on_both_are_a_patched_model() -> None:
    group = hooks(0.7)
    made = run(toy_model(), cond(1, hooks=group), cond(2, hooks=group))
    assert torch.allclose(made, run(stronger(toy_model(), 0.7), cond(1), cond(2)), atol=1e-5)
    assert not torch.allclose(made, run(toy_model(), cond(1), cond(2)), atol=1e-2)
    assert torch.equal(run(toy_model(), cond(1, hooks=hooks(0.0)), cond(2)), run(toy_model(), cond(1), cond(2)))


def test_hooks_on_one_leave_the_other_alone() -> None:
    seen: list[Tensor] = []

    def look(guidance: Any, outs: list[Tensor]) -> list[Tensor]:
        seen.extend(outs)
        return outs

    model = toy_model().with_tap("pre_cfg", look)
    first = SIGMAS[:2]
    run(model, cond(1, hooks=hooks(0.7)), cond(2), first)
    run(model, cond(1), cond(2), first)
    run(stronger(model, 0.7), cond(1), cond(2), first)
    assert torch.allclose(seen[1], seen[3]) and torch.allclose(seen[0], seen[4], atol=1e-6) and not torch.allclose(seen[0], seen[2])


def test_keyframes_change_the_strength_on_the_way() -> None:
    model = toy_model()
    turn = next(p for p in (i / 1000 for i in range(1000)) if model.noise.percent_to_sigma(p) < 2.0)
    group = hooks(1.0, Keyframe(0.5, 0.0), Keyframe(0.0, turn))
    made = run(model, cond(1, hooks=group), cond(2, hooks=group))
    # by hand: the patched model down to sigma 1, the plain one from there
    half = run(stronger(model, 0.5), cond(1), cond(2), SIGMAS[:4])
    rest = run(model, cond(1), cond(2), SIGMAS[3:], torch.zeros_like(NOISE), half)
    assert torch.allclose(made, rest, atol=1e-4)


def test_the_first_keyframe_holds_from_the_beginning() -> None:
    hook = Hook(None, None, keyframes=(Keyframe(0.3, 0.5), Keyframe(0.9, 0.8)))
    percent = toy_model().noise.percent_to_sigma
    assert hook.multiplier(14.0, percent) == 0.3 and hook.multiplier(percent(0.9), percent) == 0.9
    assert with_keyframe((Keyframe(1, 0.5),), Keyframe(2, 0.1), Keyframe(3, 0.5)) == (Keyframe(2, 0.1), Keyframe(3, 0.5))
    assert Hook(None, None).multiplier(1.0, percent) == 1.0


def test_groups_join() -> None:
    a, b = hooks(), hooks()
    joined = together(a, None, b)
    assert joined is not None and joined.hooks == (*a.hooks, *b.hooks) and together(None, a) is a and together() is None


def test_another_model_as_a_difference() -> None:
    own = {"a": torch.ones(3), "b": torch.ones(2), "c": torch.ones(1)}
    other = {"a": torch.full((3,), 3.0), "b": torch.ones(5)}
    (patch,) = difference(other, own, "x")(0.5)
    assert patch.key == "a" and torch.equal(patch.delta(own["a"].clone()), torch.full((3,), 2.0))


class Encoder:
    """Encodes a text as its own strength."""

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = strength

    def conditioning(self, text: str, pool: Any) -> list[list[Any]]:
        return [[torch.full((1, 7, 6), self.strength), {"pooled_output": None}]]


def test_text_encoders_carry_hooks_and_follow_keyframes() -> None:
    frames = nodes.create_hook_keyframe(None, strength_mult=1.0, start_percent=0.0)
    frames = nodes.create_hook_keyframe(None, strength_mult=0.25, start_percent=0.4, prev_hook_kf=frames)
    group = nodes.set_hook_keyframes(
        None, hooks=Hooks((Hook(None, lambda clip, strength: Encoder(clip.strength + strength), 1.0, 2.0),)), hook_kf=frames
    )
    plain = nodes.set_clip_hooks(None, clip=Encoder(), hooks=group)
    assert isinstance(plain, HookedClip)
    ((tokens, extra),) = plain.conditioning("a", None)
    assert float(tokens.max()) == 2.0 and extra["hooks"] is group
    made = nodes.set_clip_hooks(None, clip=Encoder(), hooks=group, apply_to_conds=False, schedule_clip=True).conditioning("a", None)
    assert [(float(t.max()), e["clip_start_percent"], e["clip_end_percent"]) for t, e in made] == [(2.0, 0.0, 0.4), (0.5, 0.4, 1.0)]
    assert "hooks" not in made[0][1]
    assert nodes.set_clip_hooks(None, clip=plain, hooks=None) is plain


def test_properties_and_defaults() -> None:
    mask, group, timesteps = torch.ones(4, 4), hooks(), (0.1, 0.6)
    ((_, extra),) = nodes.conditioning_set_properties(
        None, cond_NEW=cond(1, other=1), strength=0.5, set_cond_area="mask bounds", mask=mask, hooks=group, timesteps=timesteps
    )
    assert extra["mask"].shape == (1, 4, 4) and extra["mask_strength"] == 0.5 and extra["set_area_to_bounds"] and extra["other"] == 1
    assert extra["hooks"] is group and (extra["start_percent"], extra["end_percent"]) == (0.1, 0.6)
    positive, negative = nodes.pair_conditioning_set_default_combine(
        None, positive=cond(1), negative=cond(2), positive_DEFAULT=cond(3), negative_DEFAULT=cond(4), hooks=group
    )
    assert len(positive) == 2 and positive[1][1]["default"] and negative[1][1]["hooks"] is group
    assert nodes.conditioning_timesteps_range(None, start_percent=0.2, end_percent=0.7) == ((0.2, 0.7), (0.0, 0.2), (0.7, 1.0))


@pytest.mark.parametrize(("way", "middle"), [("linear", 0.5), ("ease_in", 0.25), ("ease_out", 0.75), ("ease_in_out", 0.5)])
def test_interpolated_keyframes(way: str, middle: float) -> None:
    frames = nodes.create_hook_keyframes_interpolated(
        None, strength_start=0.0, strength_end=1.0, interpolation=way, start_percent=0.2, end_percent=0.8, keyframes_count=3
    )
    assert [round(f.strength, 6) for f in frames] == [0.0, middle, 1.0] and [round(f.start, 6) for f in frames] == [0.2, 0.5, 0.8]

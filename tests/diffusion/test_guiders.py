"""Guiders ask for what they need and combine it by their formula; taps see and change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion.guiders import BasicGuider, CfgGuider, DualCfgGuider, Guidance, PerpNegGuider
from tests.diffusion.toy import cond, toy_model

SHAPE = (1, 4, 3, 3)
ROLES = ("positive", "negative", "middle", "empty")
X0 = {role: torch.randn(SHAPE, generator=torch.Generator().manual_seed(n)) for n, role in enumerate(ROLES)}
X, SIGMA = torch.randn(SHAPE), torch.tensor([2.0])


class Asked:
    def __init__(self) -> None:
        self.roles: list[str] = []

    def __call__(self, x: Tensor, sigma: Tensor, roles: Sequence[str]) -> list[Tensor]:
        self.roles += roles
        return [X0[r] for r in roles]


def guess(guider: Any, both: bool = False) -> tuple[Tensor, Tensor, list[str]]:
    ask = Asked()
    got = guider.predict(ask, X, SIGMA, both)
    return got.denoised, got.uncond, ask.roles


def test_basic() -> None:
    denoised, uncond, roles = guess(BasicGuider(toy_model(), cond(1)), both=True)
    assert denoised is X0["positive"] and uncond is X0["positive"] and roles == ["positive"]


def test_cfg() -> None:
    denoised, uncond, roles = guess(CfgGuider(toy_model(), cond(1), cond(2), 7.0))
    assert torch.allclose(denoised, X0["negative"] + 7 * (X0["positive"] - X0["negative"]))
    assert uncond is X0["negative"] and roles == ["positive", "negative"]


def test_cfg_of_one_skips_the_negative() -> None:
    guider = CfgGuider(toy_model(), cond(1), cond(2), 1.0)
    assert guess(guider)[2] == ["positive"]
    assert guess(guider, both=True)[2] == ["positive", "negative"]
    tapped = replace(guider, model=guider.model.with_tap("needs_uncond", True))
    assert guess(tapped)[2] == ["positive", "negative"]


@pytest.mark.parametrize(("first", "second", "nested", "roles"), [
    (3.0, 2.0, False, ["negative", "middle", "positive"]), (3.0, 1.0, False, ["middle", "positive"]),
    (1.0, 1.0, False, ["positive"]), (1.0, 2.0, False, ["negative", "middle", "positive"]),
    (3.0, 2.0, True, ["negative", "middle", "positive"]),
])  # fmt: skip
def test_dual_cfg(first: float, second: float, nested: bool, roles: list[str]) -> None:
    denoised, _, asked = guess(DualCfgGuider(toy_model(), cond(1), cond(2), cond(3), first, second, nested))
    p, m, n = X0["positive"], X0["middle"], X0["negative"]
    if nested:
        expected = n + second * (m + first * (p - m) - n)
    else:
        expected = n + second * (m - n) + first * (p - m)
    assert torch.allclose(denoised, expected, atol=1e-5) and asked == roles


def test_perp_neg_is_perpendicular() -> None:
    guider = PerpNegGuider(toy_model(), cond(1), cond(2), cond(3), cfg=1.0, neg_scale=0.7)
    denoised, _, roles = guess(guider)
    assert sorted(roles) == ["empty", "negative", "positive"]
    pos = X0["positive"] - X0["empty"]
    pushed = denoised - X0["empty"] - pos
    assert float((pushed * pos).sum()) == pytest.approx(0, abs=1e-4)
    assert pushed.abs().max() > 0.1


def test_taps_in_order() -> None:
    seen: list[Guidance] = []

    def instead(g: Guidance) -> Tensor:
        seen.append(g)
        assert g.uncond is not None
        return g.cond + g.uncond

    def after(g: Guidance) -> Tensor:
        assert g.denoised is not None
        seen.append(g)
        return g.denoised * 2

    def first(g: Guidance, outs: list[Tensor]) -> list[Tensor]:
        return [o + 1 for o in outs]

    model = toy_model().with_tap("pre_cfg", first).with_tap("cfg", instead).with_tap("post_cfg", after).with_tap("post_cfg", after)
    denoised, uncond, _ = guess(CfgGuider(model, cond(1), cond(2), 5.0))
    assert torch.allclose(denoised, (X0["positive"] + X0["negative"] + 2) * 4)
    assert torch.equal(uncond, X0["negative"] + 1)
    assert seen[0].x is X and seen[0].scale == 5.0 and seen[0].denoised is None and len(seen) == 3


def test_the_last_cfg_tap_decides() -> None:
    model = toy_model().with_tap("cfg", lambda g: g.cond * 0).with_tap("cfg", lambda g: g.cond * 3)
    assert torch.equal(guess(CfgGuider(model, cond(1), cond(2), 5.0))[0], X0["positive"] * 3)


def test_predict_tap_replaces_the_question() -> None:
    model = toy_model().with_tap("predict", lambda ask, x, sigma, roles, conds: [x * 0 + len(conds) for _ in roles])
    denoised, _, roles = guess(CfgGuider(model, cond(1), cond(2), 4.0))
    assert roles == [] and torch.equal(denoised, torch.full(SHAPE, 2.0))

"""Guidance formulas and UNet patches against the functions of the same name in diffusers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from diffusers.guiders import (
    adaptive_projected_guidance,
    classifier_free_zero_star_guidance,
    tangential_classifier_free_guidance,
)
from diffusers.pipelines.deprecated.stable_diffusion_sag.pipeline_stable_diffusion_sag import gaussian_blur_2d
from diffusers.utils.torch_utils import apply_freeu, fourier_filter
from torch import Tensor

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches import again, guided
from backend.diffusion.patches.freeu import freeu, structure
from tests.diffusion.toy import cond, toy_model

SHAPE, SCALE = (2, 4, 6, 8), 5.0


def draw(seed: int) -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))


X, COND, UNCOND, SIGMA = draw(0), draw(1), draw(2), torch.tensor([2.0, 2.0])


def ask(x: Tensor, sigma: Tensor, roles: Sequence[str], **options: Any) -> list[Tensor]:
    return [{"positive": COND, "negative": UNCOND}[role] for role in roles]


def answer(model: ModelHandle, scale: float = SCALE) -> Tensor:
    return CfgGuider(model, cond(1), cond(2), scale).predict(ask, X, SIGMA).denoised


@pytest.mark.parametrize(("eta", "threshold", "momentum"), [(1.0, 0.0, 0.0), (0.3, 5.0, 0.0), (0.0, 2.0, -0.5)])
def test_projected(eta: float, threshold: float, momentum: float) -> None:
    model = guided.projected(toy_model(), eta, threshold, momentum)
    buffer = adaptive_projected_guidance.MomentumBuffer(momentum) if momentum else None
    for _ in range(3):  # momentum remembers
        expected = adaptive_projected_guidance.normalized_guidance(COND, UNCOND, SCALE, buffer, eta, threshold, True)
        assert (answer(model) - expected).abs().max() < 1e-4
    model.taps["pre_cfg"][0].begin(model, SIGMA)
    again_first = adaptive_projected_guidance.MomentumBuffer(momentum) if momentum else None
    expected = adaptive_projected_guidance.normalized_guidance(COND, UNCOND, SCALE, again_first, eta, threshold, True)
    assert (answer(model) - expected).abs().max() < 1e-4


def test_zero_star() -> None:
    cond, uncond = X - COND, X - UNCOND  # the reference is told directions, not clean estimates
    alpha = classifier_free_zero_star_guidance.cfg_zero_star_scale(cond.flatten(1), uncond.flatten(1)).reshape(-1, 1, 1, 1)
    direction = X - UNCOND * alpha + SCALE * (UNCOND * alpha - COND)
    got = answer(guided.after(toy_model(), guided.zero_star))
    assert (got - (X - direction)).abs().max() < 1e-4


def test_damped() -> None:
    cond, uncond = X - COND, X - UNCOND
    expected = X - tangential_classifier_free_guidance.normalized_guidance(cond, uncond, SCALE)
    got = answer(guided.on_both(toy_model(), guided.damped))
    # the reference forms the main direction from (cond, uncond), we from (uncond, cond): the same up to sign
    assert (got - expected).abs().max() < 1e-3


@pytest.mark.parametrize("scale", [0.2, 0.9, 1.4])
def test_fourier_filter(scale: float) -> None:
    x = draw(3)
    assert (guided.fourier_scaled(x, scale, 1.0, 1) - fourier_filter(x, 1, scale)).abs().max() < 1e-5


def test_freeu_version_1() -> None:
    model = toy_model()
    model = ModelHandle(model.loadable, model.family, Widths(), model.noise)
    tap = freeu(model, 1.2, 1.4, 0.9, 0.2, version=1).taps["output_block_patch"][0]
    for place, width in enumerate((16, 8)):
        h, skip = torch.randn(2, width, 6, 8), torch.randn(2, width, 6, 8)
        expected = apply_freeu(place, h.clone(), skip, s1=0.9, s2=0.2, b1=1.2, b2=1.4)
        for got, wanted in zip(tap(h, skip, {}), expected, strict=True):
            assert (got - wanted).abs().max() < 1e-5
    untouched = torch.randn(1, 4, 6, 8)
    assert tap(untouched, untouched, {})[0] is untouched


class Widths:
    channels = (4, 8, 16)


def test_freeu_structure() -> None:
    h = torch.randn(2, 8, 3, 5)
    got = structure(h)
    assert got.shape == (2, 1, 3, 5)
    assert torch.allclose(got.amin((1, 2, 3)), torch.zeros(2)) and torch.allclose(got.amax((1, 2, 3)), torch.ones(2))


def test_blur() -> None:
    x = torch.randn(2, 4, 12, 9)
    assert (again.gaussian(x, 9, 1.0) - gaussian_blur_2d(x, kernel_size=9, sigma=1.0)).abs().max() < 1e-5

"""CFG++ solvers: with nothing to guide away from they are their plain solvers, and with something they follow the published step."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion.randomness import GivenNoise
from backend.diffusion.samplers import EXTRA, SAMPLERS
from tests.golden.reference import Both, denoise, numbered_noise, unconditional

SHAPE = (1, 4, 5, 5)
SIGMAS = torch.tensor([14.0, 6.0, 2.5, 1.0, 0.4, 0.1, 0.0])

TWINS = [
    ("euler_cfg_pp", "euler"),
    ("euler_ancestral_cfg_pp", "euler_ancestral"),
    ("dpmpp_2s_ancestral_cfg_pp", "dpmpp_2s_ancestral"),
    ("dpmpp_2m_cfg_pp", "dpmpp_2m"),
    ("res_multistep_cfg_pp", "res_multistep"),
    ("res_multistep_ancestral_cfg_pp", "res_multistep_ancestral"),
    ("gradient_estimation_cfg_pp", "gradient_estimation"),
    ("euler_cfg_pp_alternative", "euler"),
]


def run(name: str, model: Any) -> Tensor:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)) * SIGMAS[0]
    return {**SAMPLERS, **EXTRA}[name](model, x, SIGMAS, noise=GivenNoise(numbered_noise(SHAPE)))


@pytest.mark.parametrize(("name", "plain"), TWINS)
def test_without_an_unconditional_answer_it_is_the_plain_solver(name: str, plain: str) -> None:
    assert (run(name, denoise) - run(plain, denoise)).abs().max() < 1e-4


@pytest.mark.parametrize("name", [n for n, _ in TWINS])
def test_the_unconditional_answer_matters(name: str) -> None:
    assert (run(name, Both()) - run(name, denoise)).abs().max() > 1e-2


def test_euler_cfg_pp_step() -> None:
    """Chung et al. 2024, algorithm 2: x0 from guidance, noise from the unconditional prediction."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)) * SIGMAS[0]
    for s, s_next in pairwise(SIGMAS):
        sigma = s.expand(1)
        x = denoise(x, sigma) + s_next * (x - unconditional(x, sigma)) / s
    assert (run("euler_cfg_pp", Both()) - x).abs().max() < 1e-4

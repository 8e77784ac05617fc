"""Deterministic solvers converge at their order on Gaussian data, where the exact answer is known.

Data N(m, v): the optimal denoiser is D(x, s) = (v x + s^2 m) / (v + s^2), and the probability flow from s0 to s1 takes x - m to
(x - m) sqrt((v + s1^2) / (v + s0^2)) (Karras et al. 2022, appendix B).
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.diffusion.path import RECTIFIED_FLOW, VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import SeededNoise
from backend.diffusion.samplers import EXTRA, SAMPLERS

MEAN, VARIANCE = 0.3, 0.25
ALL = {**SAMPLERS, **EXTRA}


def posterior(path: Path) -> Any:
    """The optimal denoiser on either path."""

    def model(x: Tensor, sigma: Tensor) -> Tensor:
        s = float(sigma[0])
        a = path.alpha(s)
        return MEAN + (x - a * MEAN) * (a * VARIANCE / (a * a * VARIANCE + s * s))

    return model


def exact(x: Tensor, path: Path, first: float, last: float) -> Tensor:
    a, b = path.alpha(first), path.alpha(last)
    scale = math.sqrt((b * b * VARIANCE + last**2) / (a * a * VARIANCE + first**2))
    return b * MEAN + (x - a * MEAN) * scale


def error(name: str, steps: int, path: Path, grid: str, options: dict[str, Any]) -> float:
    first, last = (0.9, 0.05) if path.flow else (10.0, 0.1)
    if grid == "log":
        sigmas = torch.linspace(math.log(first), math.log(last), steps + 1, dtype=torch.float64).exp()
    else:
        sigmas = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    x = torch.linspace(-2, 2, 16, dtype=torch.float64).reshape(1, 1, 4, 4) * first
    got = ALL[name](posterior(path), x, sigmas, noise=SeededNoise(0), path=path, **options)
    return float((got - exact(x, path, first, last)).abs().max())


ORDERS: list[tuple[str, float, str, dict[str, Any]]] = [
    ("euler", 1, "log", {}),
    ("euler_ancestral", 1, "log", {"eta": 0.0}),
    ("gradient_estimation", 1, "log", {}),
    ("heun", 2, "log", {}),
    ("dpm_2", 2, "log", {}),
    ("dpm_2_ancestral", 2, "log", {"eta": 0.0}),
    ("dpmpp_2s_ancestral", 2, "log", {"eta": 0.0}),
    ("dpmpp_2m", 2, "log", {}),
    ("dpmpp_sde", 2, "log", {"eta": 0.0}),
    ("dpmpp_2m_sde", 2, "log", {"eta": 0.0}),
    ("dpmpp_2m_sde_heun", 2, "log", {"eta": 0.0}),
    ("dpmpp_3m_sde", 2, "log", {"eta": 0.0}),
    ("res_multistep", 2, "log", {}),
    ("seeds_2", 2, "log", {"eta": 0.0}),
    ("seeds_3", 3, "log", {"eta": 0.0}),
    ("er_sde", 1, "log", {"solver_type": "ODE", "max_stage": 1}),
    ("er_sde", 2, "log", {"solver_type": "ODE", "max_stage": 2}),
    ("sa_solver", 2, "log", {"tau": lambda s: 0.0}),
    ("sa_solver_pece", 2, "log", {"tau": lambda s: 0.0}),
    ("deis", 2, "log", {}),
    ("deis", 2, "log", {"clock": "log"}),
    # these take one or two first order steps, at the start or the end, whose error of second order stays
    ("dpm_fast", 2, "log", {}),
    ("uni_pc", 2, "log", {}),
    ("uni_pc_bh2", 2, "log", {}),
    ("lms", 2, "log", {}),
    ("ipndm_v", 2, "log", {}),
    ("ipndm", 2, "linear", {}),
    ("pndm", 2, "linear", {}),
]


@pytest.mark.parametrize(("name", "order", "grid", "options"), ORDERS, ids=lambda v: v if isinstance(v, str) else "")
def test_order(name: str, order: float, grid: str, options: dict[str, Any]) -> None:
    steps = {1: 80, 2: 48, 3: 24}[int(order)]
    coarse, fine = (error(name, n, VARIANCE_EXPLODING, grid, options) for n in (steps, 2 * steps))
    assert fine < 0.02
    assert math.log2(coarse / fine) > order - 0.35


FLOW: list[tuple[str, float, str, dict[str, Any]]] = [
    ("euler", 1, "linear", {}), ("euler_ancestral", 1, "linear", {"eta": 0.0}), ("heun", 2, "linear", {}), ("dpm_2", 2, "linear", {}),
    ("dpmpp_2m", 2, "linear", {}), ("dpm_2_ancestral", 2, "linear", {"eta": 0.0}), ("dpmpp_2s_ancestral", 2, "linear", {"eta": 0.0}),
    ("dpmpp_sde", 2, "linear", {"eta": 0.0}), ("dpmpp_2m_sde", 2, "linear", {"eta": 0.0}), ("dpmpp_3m_sde", 2, "log", {"eta": 0.0}),
    ("seeds_2", 2, "linear", {"eta": 0.0}), ("seeds_3", 3, "log", {"eta": 0.0}),
    ("er_sde", 2, "log", {"solver_type": "ODE", "max_stage": 2}), ("sa_solver", 2, "linear", {"tau": lambda s: 0.0}),
    ("uni_pc", 2, "linear", {}), ("deis", 2, "log", {}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "order", "grid", "options"), FLOW, ids=lambda v: v if isinstance(v, str) else "")
def test_order_on_a_flow(name: str, order: float, grid: str, options: dict[str, Any]) -> None:
    steps = {1: 80, 2: 48, 3: 24}[int(order)]
    coarse, fine = (error(name, n, RECTIFIED_FLOW, grid, options) for n in (steps, 2 * steps))
    assert fine < 0.02
    assert math.log2(coarse / fine) > order - 0.35


@pytest.mark.parametrize("order", [2, 3])
def test_adaptive_keeps_its_tolerance(order: int) -> None:
    options = [{"order": order, "rtol": rtol, "atol": rtol / 10} for rtol in (0.05, 0.0005)]
    loose, tight = (error("dpm_adaptive", 2, VARIANCE_EXPLODING, "log", o) for o in options)
    assert tight < loose < 0.1
    assert tight < 0.01


def test_reaching_zero_gives_the_clean_answer() -> None:
    """Every deterministic solver, stopped at zero after many steps, gives the exact noise free point."""
    sigmas = torch.cat([torch.linspace(math.log(10.0), math.log(0.005), 60).exp(), torch.zeros(1)])
    x = torch.linspace(-2, 2, 16).reshape(1, 1, 4, 4) * 10
    expected = exact(x, VARIANCE_EXPLODING, 10.0, 0.0)
    for name in ("euler", "heun", "heunpp2", "dpm_2", "lms", "dpmpp_2m", "ipndm_v", "deis", "res_multistep", "uni_pc", "ddim"):
        got = SAMPLERS[name](posterior(VARIANCE_EXPLODING), x, sigmas, noise=SeededNoise(0))
        assert (got - expected).abs().max() < 0.12, name


@pytest.mark.parametrize("path", [VARIANCE_EXPLODING, RECTIFIED_FLOW])
def test_there_and_back(path: Path) -> None:
    """Inverted noise, sampled again, is the picture. Its answers are taken at the level ahead, so 200 steps come close only."""
    sigmas = torch.linspace(0.9 if path.flow else 10.0, 0, 201, dtype=torch.float64)
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).reshape(1, 1, 4, 4)
    noisy = ALL["ddim_inversion"](posterior(path), x, sigmas.flip(0), noise=SeededNoise(0), path=path)
    assert (ALL["euler"](posterior(path), noisy, sigmas, noise=SeededNoise(0), path=path) - x).abs().max() < 0.06


def test_consistency_sampling_grows() -> None:
    x, sigmas = torch.randn(1, 4, 8, 6, generator=torch.Generator().manual_seed(0)), torch.tensor([10.0, 3.0, 1.0, 0.3, 0.0])

    def run(name: str, **options: Any) -> Tensor:
        return ALL[name](posterior(VARIANCE_EXPLODING), x, sigmas, noise=SeededNoise(3), **options)

    assert torch.equal(run("lcm_upscale"), run("lcm"))
    assert run("lcm_upscale", ratio=2.0).shape == (1, 4, 16, 12) and run("lcm_upscale", ratio=0.5, steps=9).shape == (1, 4, 4, 3)

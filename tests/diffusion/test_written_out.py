"""Solvers that no reference library has, against their published step written out once more without the product's code."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from backend.diffusion.randomness import GivenNoise
from backend.diffusion.samplers import SAMPLERS
from backend.diffusion.samplers.adams import lagrange_weights
from backend.diffusion.samplers.sa_solver import adams_weights
from tests.golden.reference import denoise, numbered_noise

SHAPE = (1, 4, 5, 5)
GRID = [14.0, 7.0, 3.5, 1.9, 0.8, 0.3, 0.1, 0.0]


def d(x: Tensor, s: float) -> Tensor:
    return (x - denoise(x, torch.tensor([s]))) / s


def start() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(2)) * GRID[0]


def run(name: str, **options: object) -> Tensor:
    return SAMPLERS[name](denoise, start(), torch.tensor(GRID), noise=GivenNoise(numbered_noise(SHAPE)), **options)


def same(a: Tensor, b: Tensor) -> None:
    assert (a - b).abs().max() < 1e-4


def test_heunpp2() -> None:
    x, s = start(), GRID
    for i in range(len(s) - 1):
        one, h = d(x, s[i]), s[i + 1] - s[i]
        if s[i + 1] == 0:
            x = x + h * one
        elif s[i + 2] == 0:
            two, w = d(x + h * one, s[i + 1]), s[i + 1] / (2 * s[0])
            x = x + h * ((1 - w) * one + w * two)
        else:
            probe = x + h * one
            two = d(probe, s[i + 1])
            three = d(probe + (s[i + 2] - s[i + 1]) * two, s[i + 2])
            w2, w3 = s[i + 1] / (3 * s[0]), s[i + 2] / (3 * s[0])
            x = x + h * ((1 - w2 - w3) * one + w2 * two + w3 * three)
    same(run("heunpp2"), x)


def test_gradient_estimation() -> None:
    x, last = start(), None
    for s, s_next in pairwise(GRID):
        slope = d(x, s)
        bar = slope if last is None or s_next == 0 else 2 * slope - last
        x, last = x + (s_next - s) * bar, slope
    same(run("gradient_estimation"), x)


def test_ipndm() -> None:
    x, past = start(), []
    table = [[1], [3 / 2, -1 / 2], [23 / 12, -4 / 3, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -3 / 8]]
    for s, s_next in pairwise(GRID):
        past = [d(x, s), *past][:4]
        if s_next == 0:
            x = x - s * past[0]
        else:
            x = x + (s_next - s) * sum(c * p for c, p in zip(table[len(past) - 1], past, strict=True))
    same(run("ipndm"), x)


def test_res_multistep_is_second_order_exponential_adams() -> None:
    """Without noise its weights integrate a line through the last two estimates exactly, which is what DPM-Solver++ 2M approximates."""
    x, before = start(), None
    for s, s_next in pairwise(GRID):
        x0 = denoise(x, torch.tensor([s]))
        if s_next == 0:
            x = x0
            continue
        h = math.log(s / s_next)
        # x0(t) = x0 + slope (t - t_now), integrated against e^(t - t_next)
        slope = torch.zeros(SHAPE) if before is None else (x0 - before[0]) / before[1]
        x = x * math.exp(-h) + x0 * (1 - math.exp(-h)) + slope * (h - 1 + math.exp(-h))
        before = x0, h
    same(run("res_multistep"), x)


def test_er_sde_integrals_in_closed_form() -> None:
    """phi = lambda^2 (the reverse-time SDE, eta 1), where the integrals are known; the solver's left sums come near them."""
    x, past, draw = start(), [], numbered_noise(SHAPE)
    for i, (s, s_next) in enumerate(pairwise(GRID)):
        x0 = denoise(x, torch.tensor([s]))
        if s_next == 0:
            x = x0
            continue
        r = (s_next / s) ** 2
        x = r * x + (1 - r) * x0
        if past:
            slope = (x0 - past[0]) / (s - GRID[i - 1])
            area = 1 / s_next - 1 / s
            x = x + (s_next - s + area * s_next**2) * slope
        x = x + draw() * math.sqrt(s_next**2 - s**2 * r**2)
        past = [x0]
    got = run("er_sde", solver_type="Reverse-time SDE", max_stage=2)
    assert (got - x).abs().max() < 0.02


def test_seeds_2_is_dpmpp_sde_without_noise() -> None:
    """Both are the two-stage exponential midpoint rule then."""
    same(run("seeds_2", eta=0.0), run("dpmpp_sde", eta=0.0))


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_multistep_weights_integrate_polynomials(order: int) -> None:
    grid = [5.0, 3.7, 2.1, 1.6, 0.9]
    i = order - 1
    weights = lagrange_weights(lambda s: s, lambda t: t, lambda t: 1.0)(grid, i, order)
    for power in range(order):
        exact = (grid[i + 1] ** (power + 1) - grid[i] ** (power + 1)) / (power + 1)
        assert sum(w * grid[i - j] ** power for j, w in enumerate(weights)) == pytest.approx(exact)


def test_four_equal_steps_give_adams_bashforth() -> None:
    weights = lagrange_weights(lambda s: s, lambda t: t, lambda t: 1.0)([4.0, 3.0, 2.0, 1.0, 0.0], 3, 4)
    assert weights == pytest.approx([-55 / 24, 59 / 24, -37 / 24, 9 / 24])


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_stochastic_adams_weights_integrate_polynomials(order: int, tau: float) -> None:
    """Against quadrature of (1 + tau^2) e^(-(1 + tau^2)(end - l)) l^k."""
    from scipy.integrate import quad

    knots, begin, end = [-1.0, -0.3, 0.1, 0.8][-order:], 0.8, 1.5
    weights = adams_weights(0.9, knots, begin, end, tau)
    m = 1 + tau**2
    for k in range(order):

        def integrand(v: float, k: int = k) -> float:
            return m * math.exp(-m * (end - v)) * v**k

        assert sum(w * v**k for w, v in zip(weights, knots, strict=True)) == pytest.approx(0.9 * quad(integrand, begin, end)[0], abs=1e-9)

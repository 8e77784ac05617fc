"""DPM-Solver (Lu et al. 2022) of orders 1 to 3 in t = -log sigma: a fixed plan of steps, and an adaptive one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.path import VARIANCE_EXPLODING, Path
from backend.diffusion.randomness import NoiseSource
from backend.diffusion.samplers.solver import Denoise, OnStep, Step, ancestral, at, quiet, root


class _Evaluations:
    """The noise estimates of one step from (x, t), shared by the orders tried from there."""

    def __init__(self, model: Denoise, x: Tensor, t: float) -> None:
        self.model, self.x, self.t = model, x, t
        self.x0 = at(model, x, math.exp(-t))
        self.eps = (x - self.x0) / math.exp(-t)
        self._inner: dict[float, Tensor] = {}

    def _at(self, r: float, h: float, x: Callable[[], Tensor]) -> Tensor:
        """The noise estimate the fraction r of h ahead, at the point x()."""
        if r not in self._inner:
            point, sigma = x(), math.exp(-(self.t + r * h))
            self._inner[r] = (point - at(self.model, point, sigma)) / sigma
        return self._inner[r]

    def first(self, h: float) -> Tensor:
        return self.x - self.eps * (math.exp(-(self.t + h)) * math.expm1(h))

    def second(self, h: float, r: float = 0.5) -> Tensor:
        inner = self._at(r, h, lambda: self.first(r * h))
        return self.first(h) - (inner - self.eps) * (math.exp(-(self.t + h)) / (2 * r) * math.expm1(h))

    def third(self, h: float, r1: float = 1 / 3, r2: float = 2 / 3) -> Tensor:
        one = self._at(r1, h, lambda: self.first(r1 * h))

        def second_point() -> Tensor:
            scale = math.exp(-(self.t + r2 * h)) * (r2 / r1) * (math.expm1(r2 * h) / (r2 * h) - 1)
            return self.first(r2 * h) - (one - self.eps) * scale

        two = self._at(r2, h, second_point)
        return self.first(h) - (two - self.eps) * (math.exp(-(self.t + h)) / r2 * (math.expm1(h) / h - 1))


def _ends(sigmas: Tensor) -> tuple[float, float]:
    """(t of the first sigma, t of the last positive one). Raises BadInput where there is none."""
    positive = [s for s in sigmas.tolist() if s > 0]
    if not positive:
        raise BadInput("This sampler needs sigmas above zero.", input="sigmas")
    return -math.log(float(sigmas[0])), -math.log(float(sigmas[-1]) or positive[-1])


def _shortened(t: float, t_next: float, t_end: float, eta: float) -> tuple[float, float]:
    """(t to step to, deviation of the noise to add there) for an ancestral share `eta`."""
    if not eta:
        return t_next, 0.0
    down, _ = ancestral(math.exp(-t), math.exp(-t_next), eta)
    t_down = min(t_end, -math.log(down)) if down > 0 else t_end
    return t_down, root(math.exp(-2 * t_next) - math.exp(-2 * t_down))


def _answer(model: Denoise, x: Tensor, t: float, on_step: OnStep) -> Tensor:
    """A schedule with one sigma leaves these solvers no way to go; one look at the model is better than none."""
    step = _Evaluations(model, x, t)
    on_step(Step(0, math.exp(-t), math.exp(-t), x, step.x0))
    return step.x0


def _check(eta: float, t_start: float, t_end: float) -> None:
    if eta and not t_end > t_start:
        raise BadInput("Noise (eta above 0) makes no sense when sampling from image to noise.", input="eta")


def dpm_fast(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    eta: float = 0.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """As many evaluations as the schedule has steps, spent on third order steps equal in log sigma, the rest on lower ones.

    Only the ends of the schedule count; it stops at its last positive sigma. With a single one it answers x0.
    """
    if len(sigmas) <= 1:
        return x
    t_start, t_end = _ends(sigmas)
    if t_start == t_end:
        return _answer(model, x, t_start, on_step)
    _check(eta, t_start, t_end)
    draw = noise.gaussian(x)
    evaluations = len(sigmas) - 1
    count = evaluations // 3 + 1
    orders = [3] * (count - 2) + [2, 1] if evaluations % 3 == 0 else [3] * (count - 1) + [evaluations % 3]
    times = torch.linspace(t_start, t_end, count + 1, dtype=torch.float64).tolist()
    for i, order in enumerate(orders):
        t, t_next = times[i], times[i + 1]
        target, up = _shortened(t, t_next, t_end, eta)
        step, h = _Evaluations(model, x, t), target - t
        on_step(Step(i, math.exp(-t), math.exp(-t), x, step.x0))
        x = step.first(h) if order == 1 else step.second(h) if order == 2 else step.third(h)
        if up:
            x = x + draw(math.exp(-t), math.exp(-t_next)) * (s_noise * up)
    return x


class StepSize:
    """A PID controller of the step size (Söderlind 2003), working on the inverse error."""

    def __init__(self, h: float, pcoeff: float, icoeff: float, dcoeff: float, order: float, accept_safety: float) -> None:
        self.h = h
        self.exponents = ((pcoeff + icoeff + dcoeff) / order, -(pcoeff + 2 * dcoeff) / order, dcoeff / order)
        self.accept_safety = accept_safety
        self.history: list[float] = []

    def accepts(self, error: float) -> bool:
        """Whether the step just tried is good enough; sets the size of the next one."""
        inverse = 1 / (error + 1e-8)
        if not self.history:
            self.history = [inverse] * 2
        factors = [inverse, *self.history]
        wish = math.prod(f**e for f, e in zip(factors, self.exponents, strict=True))
        factor = 1 + math.atan(wish - 1)
        self.h *= factor
        if factor < self.accept_safety:
            return False
        self.history = [inverse, self.history[0]]
        return True


def dpm_adaptive(
    model: Denoise, x: Tensor, sigmas: Tensor, *, noise: NoiseSource, on_step: OnStep = quiet, path: Path = VARIANCE_EXPLODING,
    order: int = 3, rtol: float = 0.05, atol: float = 0.0078, h_init: float = 0.05, pcoeff: float = 0.0, icoeff: float = 1.0,
    dcoeff: float = 0.0, accept_safety: float = 0.81, eta: float = 0.0, s_noise: float = 1.0,
) -> Tensor:  # fmt: skip
    """Steps of DPM-Solver-12 or -23 as long as the two orders agree to `rtol` and `atol`. Only the ends of the schedule count.

    Waits for the device once a step, to read the error.
    """
    if order not in (2, 3):
        raise BadInput(f"The adaptive sampler has order 2 or 3, not {order}.", input="order")
    if len(sigmas) <= 1:
        return x
    t, t_end = _ends(sigmas)
    if t == t_end:
        return _answer(model, x, t, on_step)
    _check(eta, t, t_end)
    forward = t_end > t
    draw = noise.gaussian(x)
    size = StepSize(abs(h_init) * (1 if forward else -1), pcoeff, icoeff, dcoeff, 1.5 if eta else order, accept_safety)
    previous, i = x, 0
    while t < t_end - 1e-5 if forward else t > t_end + 1e-5:
        t_next = min(t_end, t + size.h) if forward else max(t_end, t + size.h)
        target, up = _shortened(t, t_next, t_end, eta)
        step, h = _Evaluations(model, x, t), target - t
        low, high = (step.first(h), step.second(h)) if order == 2 else (step.second(h, r=1 / 3), step.third(h))
        tolerance = (rtol * torch.maximum(low.abs(), previous.abs())).clamp(min=atol)
        error = float(torch.linalg.vector_norm((low - high) / tolerance)) / math.sqrt(x.numel())
        accepted = size.accepts(error)
        if accepted:
            sigma, previous = math.exp(-t), low
            x = high if not up else high + draw(sigma, math.exp(-t_next)) * (s_noise * up)
            t = t_next
        on_step(Step(i, math.exp(-t), math.exp(-t), x, step.x0))
        i += 1
    return x

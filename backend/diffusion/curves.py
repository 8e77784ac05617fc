"""Sigma schedules that are formulas: no noise model needed. All return CPU fp32, descending."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def with_zero(sigmas: Sequence[float]) -> Tensor:
    """The schedule with the final 0."""
    return torch.tensor([*sigmas, 0.0])


def _append(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])


def karras(steps: int, sigma_min: float, sigma_max: float, rho: float = 7.0) -> Tensor:
    """Equal steps of sigma^(1/rho) (Karras et al. 2022, eq. 5)."""
    ramp = torch.linspace(0, 1, steps)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _append((high + ramp * (low - high)) ** rho)


def exponential(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Equal steps of log sigma."""
    return _append(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp())


def polyexponential(steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """Steps of log sigma along a polynomial of degree rho."""
    ramp = torch.linspace(1, 0, steps) ** rho
    return _append((ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def laplace(steps: int, sigma_min: float, sigma_max: float, mu: float = 0.0, beta: float = 0.5) -> Tensor:
    """Log SNR at quantiles of a Laplace distribution (Hang et al. 2024), clamped to the bounds. Ends at sigma_min: no final zero."""
    off = 0.5 - torch.linspace(0, 1, steps)
    log_sigma = mu - beta * off.sign() * (1 - 2 * off.abs() + 1e-5).log()
    return log_sigma.exp().clamp(sigma_min, sigma_max)


def vp(steps: int, beta_d: float = 19.9, beta_min: float = 0.1, eps_s: float = 1e-3) -> Tensor:
    """Equal steps of time in a continuous variance preserving SDE (Song et al. 2021)."""
    t = torch.linspace(1, eps_s, steps)
    return _append(((beta_d * t**2 / 2 + beta_min * t).exp() - 1).sqrt())


def kl_optimal(steps: int, sigma_min: float, sigma_max: float) -> Tensor:
    """Equal steps of atan sigma (Sabour et al. 2024, eq. 11)."""
    ramp = torch.arange(steps, dtype=torch.float32) / max(steps - 1, 1)
    return _append((ramp * math.atan(sigma_min) + (1 - ramp) * math.atan(sigma_max)).tan())


def lu_lambdas(steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
    """Equal steps of lambda^(1/rho), lambda = log sigma (Lu et al. 2022, DPM-Solver++, section 5); rho 1 keeps signs meaningful."""
    low, high = math.log(sigma_min), math.log(sigma_max)
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    return _append((high + ramp * (low - high)).exp().float()) if rho == 1 else _append(_bent(ramp, low, high, rho))


def _bent(ramp: Tensor, low: float, high: float, rho: float) -> Tensor:
    def root(value: float) -> float:
        return math.copysign(abs(value) ** (1 / rho), value)

    mixed = root(high) + ramp * (root(low) - root(high))
    return (mixed.sign() * mixed.abs() ** rho).exp().float()


def resolution_shifted(steps: int, positions: int) -> Tensor:
    """Equal steps of flow time t with s = e^mu t / (e^mu t + 1 - t), where mu follows the number of latent positions and steps (Flux 2).

    mu is linear in the positions for 10 and for 200 steps, and between them linear in the steps; beyond 4300 positions as for 200.
    """
    few, many = 8.73809524e-05 * positions + 1.89833333, 0.00016927 * positions + 0.45666666
    mu = many if positions > 4300 else many + (many - few) / 190 * (steps - 200)
    time = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    bent = math.exp(mu) * time
    return (bent / (bent + 1 - time)).float()


def logit_normal(steps: int, mu: float, std: float) -> Tensor:
    """Quantiles of flow times whose logit is normal, cut at log SNRs of 15 and -18 and ended by 0 (Ideogram 4)."""
    quantiles: Tensor = torch.special.ndtri(torch.linspace(1, 0, steps + 1, dtype=torch.float64))
    sigmas = torch.sigmoid((mu + std * quantiles).clamp(-15 / 2, 18 / 2))
    sigmas[-1] = 0
    return sigmas.float()


def log_interpolate(sigmas: Sequence[float], count: int) -> Tensor:
    """`count` sigmas on the log-linear curve through `sigmas`, ends included."""
    logs = torch.tensor(sigmas, dtype=torch.float64).log()
    at = torch.linspace(0, len(sigmas) - 1, count, dtype=torch.float64)
    low = at.floor().long().clamp(max=len(sigmas) - 2)
    return torch.lerp(logs[low], logs[low + 1], at - low).exp().float()


def extend(sigmas: Tensor, steps: int, start: float, end: float, spacing: str = "linear") -> Tensor:
    """Between neighbours inside [end, start] put `steps - 1` more sigmas; a negative `start` means no upper bound.

    `spacing` bends where between the neighbours they lie: "linear", "cosine" (late) or "sine" (early).
    """
    if start < 0:
        start = math.inf
    x = torch.linspace(0, 1, steps + 1)[1:-1]
    bends = {"linear": x, "cosine": (x * math.pi / 2).sin(), "sine": 1 - (x * math.pi / 2).cos()}
    out: list[float] = []
    for high, low in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        out.append(high)
        if end <= high <= start:
            out.extend((bends[spacing] * (low - high) + high).tolist())
    return torch.tensor([*out, float(sigmas[-1])]) if len(sigmas) else sigmas


def flipped(sigmas: Tensor) -> Tensor:
    """The schedule upside down, for going from image to noise; a leading 0 is nudged off zero, where the slope is undefined."""
    if not len(sigmas):
        return sigmas
    up = sigmas.flip(0).clone()
    if up[0] == 0:
        up[0] = 0.0001
    return up


def split(sigmas: Tensor, step: int) -> tuple[Tensor, Tensor]:
    """Two schedules that meet at index `step`."""
    return sigmas[: step + 1], sigmas[step:]


def split_denoise(sigmas: Tensor, denoise: float) -> tuple[Tensor, Tensor]:
    """Split so that the second part is the `denoise` share of the steps."""
    steps = max(len(sigmas) - 1, 0)
    kept = round(steps * denoise)
    return sigmas[: -kept if kept else None], sigmas[-(kept + 1) :]

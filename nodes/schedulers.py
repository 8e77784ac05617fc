"""Schedules of noise levels: which sigmas a sampling visits."""

from __future__ import annotations

from functools import partial

import torch

from backend.diffusion import curves, schedules
from backend.engine.context import Context
from backend.graph.declare import Choice, Combo, Float, Int, node
from nodes.types import Model, Sigmas

scheduler_node = partial(node, category="sampling/custom_sampling/schedulers", module="comfy_extras.nodes_custom_sampler")
SCHEDULER_NAMES = tuple(schedules.SCHEDULERS)


def _steps() -> int:
    widget: int = Int(20, min=1, max=10000)
    return widget


def _sigma(default: float) -> float:
    widget: float = Float(default, min=0.0, max=5000.0, step=0.01, round=False)
    return widget


def _sigma_max() -> float:
    return _sigma(14.614642)


def _sigma_min() -> float:
    return _sigma(0.0291675)


@scheduler_node("BasicScheduler")
def basic_scheduler(
    ctx: Context,
    *,
    model: Model,
    scheduler: str = Choice(SCHEDULER_NAMES),
    steps: int = _steps(),
    denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01),
) -> Sigmas:
    """The schedule KSampler would use for this model; with denoise below 1 only its last part."""
    return schedules.sampling_sigmas(model.noise, scheduler, steps, denoise=denoise)


@scheduler_node("KarrasScheduler")
def karras_scheduler(
    ctx: Context,
    *,
    steps: int = _steps(),
    sigma_max: float = _sigma_max(),
    sigma_min: float = _sigma_min(),
    rho: float = Float(7.0, min=0.0, max=100.0, step=0.01, round=False),
) -> Sigmas:
    """Equal steps of sigma^(1/rho) (Karras et al. 2022)."""
    return curves.karras(steps, sigma_min, sigma_max, rho)


@scheduler_node("ExponentialScheduler")
def exponential_scheduler(
    ctx: Context, *, steps: int = _steps(), sigma_max: float = _sigma_max(), sigma_min: float = _sigma_min()
) -> Sigmas:
    """Equal steps of log sigma."""
    return curves.exponential(steps, sigma_min, sigma_max)


@scheduler_node("PolyexponentialScheduler")
def polyexponential_scheduler(
    ctx: Context,
    *,
    steps: int = _steps(),
    sigma_max: float = _sigma_max(),
    sigma_min: float = _sigma_min(),
    rho: float = Float(1.0, min=0.0, max=100.0, step=0.01, round=False),
) -> Sigmas:
    """Steps of log sigma along a polynomial of degree rho."""
    return curves.polyexponential(steps, sigma_min, sigma_max, rho)


@scheduler_node("LaplaceScheduler")
def laplace_scheduler(
    ctx: Context,
    *,
    steps: int = _steps(),
    sigma_max: float = _sigma_max(),
    sigma_min: float = _sigma_min(),
    mu: float = Float(0.0, min=-10.0, max=10.0, step=0.1, round=False),
    beta: float = Float(0.5, min=0.0, max=10.0, step=0.1, round=False),
) -> Sigmas:
    """Log SNR at quantiles of a Laplace distribution (Hang et al. 2024)."""
    return curves.laplace(steps, sigma_min, sigma_max, mu, beta)


@scheduler_node("VPScheduler")
def vp_scheduler(
    ctx: Context,
    *,
    steps: int = _steps(),
    beta_d: float = _sigma(19.9),
    beta_min: float = _sigma(0.1),
    eps_s: float = Float(0.001, min=0.0, max=1.0, step=0.0001, round=False),
) -> Sigmas:
    """Equal steps of time in a variance preserving SDE (Song et al. 2021)."""
    return curves.vp(steps, beta_d, beta_min, eps_s)


@scheduler_node("BetaSamplingScheduler")
def beta_sampling_scheduler(
    ctx: Context,
    *,
    model: Model,
    steps: int = _steps(),
    alpha: float = Float(0.6, min=0.0, max=50.0, step=0.01, round=False),
    beta: float = Float(0.6, min=0.0, max=50.0, step=0.01, round=False),
) -> Sigmas:
    """Timesteps at quantiles of a Beta distribution (Lee et al. 2024)."""
    return schedules.beta(model.noise, steps, alpha, beta)


@scheduler_node("SDTurboScheduler")
def sd_turbo_scheduler(
    ctx: Context, *, model: Model, steps: int = Int(1, min=1, max=10), denoise: float = Float(1.0, min=0, max=1.0, step=0.01)
) -> Sigmas:
    """The few timesteps that turbo models were distilled at."""
    return schedules.turbo(model.noise, steps, denoise) if denoise > 0 else torch.empty(0)


@node(
    "AlignYourStepsScheduler",
    category="sampling/custom_sampling/schedulers",
    module="comfy_extras.nodes_align_your_steps",
    form="v3",
)
def align_your_steps_scheduler(
    ctx: Context,
    *,
    model_type: str = Combo(list(schedules.ALIGNED)),
    steps: int = Int(10, min=1, max=10000),
    denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01),
) -> Sigmas:
    """A schedule optimised for one kind of model and few steps (Sabour et al. 2024)."""
    return schedules.align_your_steps(model_type, steps, denoise)


@node("TimestepSpacingScheduler", category="sampling/custom_sampling/schedulers")
def timestep_spacing_scheduler(
    ctx: Context,
    *,
    model: Model,
    steps: int = _steps(),
    spacing: str = Choice(schedules.SPACINGS, default="trailing"),
    offset: int = Int(0, min=0, max=10, tooltip="Added to each timestep of the leading spacing."),
) -> Sigmas:
    """Whole timesteps counted from the start, evenly, or from the end (Lin et al. 2023, table 2)."""
    return schedules.spaced(model.noise, steps, spacing, offset)


@node("LuLambdasScheduler", category="sampling/custom_sampling/schedulers")
def lu_lambdas_scheduler(
    ctx: Context,
    *,
    model: Model,
    steps: int = _steps(),
    rho: float = Float(1.0, min=0.1, max=100.0, step=0.01),
) -> Sigmas:
    """Equal steps of log SNR to the power 1/rho (Lu et al. 2022)."""
    return curves.lu_lambdas(steps, model.noise.sigma_min, model.noise.sigma_max, rho)

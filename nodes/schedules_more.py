"""Noise levels typed in by hand or bent to the size of a film, and guidance scales for a part of sampling."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion import curves, noise, schedules
from backend.diffusion.guiders import Guidance
from backend.engine.context import Context
from backend.graph.declare import Bool, Combo, Float, Int, Text, node
from nodes.model_advanced import clock
from nodes.types import MAX_SIDE, Latent, Model, Sigmas

SCHEDULERS = "sampling/custom_sampling/schedulers"


@node("ManualSigmas", title="Manual Sigmas", category=SCHEDULERS, module="comfy_extras.nodes_custom_sampler", form="v3")
def manual_sigmas(ctx: Context, *, sigmas: str = Text("1, 0.5, 0", multiline=False)) -> Sigmas:
    """Noise levels as numbers, separated by commas or spaces."""
    try:
        values = [float(word) for word in re.split(r"[\s,;]+", sigmas.strip()) if word]
    except ValueError:
        values = []
    if not values or not all(math.isfinite(value) and value >= 0 for value in values):
        hint = "Write them like 1.0, 0.7, 0.3, 0."
        raise BadInput(f"`sigmas` is {sigmas!r:.80}; noise levels are numbers from 0 up.", hint=hint, node=ctx.node, input="sigmas")
    return torch.tensor(values)


def _shift(latent: dict[str, Tensor] | None, max_shift: float, base_shift: float) -> float:
    """mu, linear in the number of latent positions: `base_shift` at 1024, `max_shift` at 4096."""
    positions = 4096 if latent is None else math.prod(latent["samples"].shape[2:])
    return base_shift + (max_shift - base_shift) * (positions - 1024) / (4096 - 1024)


def _shift_widget(default: float) -> float:
    widget: float = Float(default, min=0.0, max=100.0, step=0.01)
    return widget


def _pixels(default: int) -> int:
    widget: int = Int(default, min=16, max=MAX_SIDE, step=1)
    return widget


@node("ModelSamplingLTXV", category="advanced/model", module="comfy_extras.nodes_lt", form="v3")
def model_sampling_ltxv(
    ctx: Context,
    *,
    model: Model,
    max_shift: float = _shift_widget(2.05),
    base_shift: float = _shift_widget(0.95),
    latent: Latent | None = None,
) -> Model:
    """Rectified flow whose shift grows with the number of latent positions."""
    return model.with_noise(noise.flow_noise(mu=_shift(latent, max_shift, base_shift), multiplier=clock(model, 1.0)))


@node("LTXVScheduler", category=SCHEDULERS, module="comfy_extras.nodes_lt", form="v3")
def ltxv_scheduler(
    ctx: Context,
    *,
    steps: int = Int(20, min=1, max=10000),
    max_shift: float = _shift_widget(2.05),
    base_shift: float = _shift_widget(0.95),
    stretch: bool = Bool(True, tooltip="Stretch the schedule so that its last noise level is `terminal`."),
    terminal: float = Float(0.1, min=0.0, max=0.99, step=0.01),
    latent: Latent | None = None,
) -> Sigmas:
    """Equal steps of flow time, shifted by the number of latent positions, and stretched to end at a chosen level before 0."""
    bend = math.exp(_shift(latent, max_shift, base_shift))
    time = torch.linspace(1.0, 0.0, steps + 1)[:-1]
    sigmas = bend / (bend + (1 / time - 1))
    if stretch and steps > 1:
        rest = 1 - sigmas
        sigmas = 1 - rest * ((1 - terminal) / rest[-1])
    return torch.cat([sigmas, torch.zeros(1)])


@node("Flux2Scheduler", category=SCHEDULERS, module="comfy_extras.nodes_flux", form="v3")
def flux2_scheduler(
    ctx: Context, *, steps: int = Int(20, min=1, max=4096), width: int = _pixels(1024), height: int = _pixels(1024)
) -> Sigmas:
    """Equal steps of flow time, shifted by the size of the picture and the number of steps."""
    return curves.resolution_shifted(steps, width * height // 256)


@node("Ideogram4Scheduler", category=SCHEDULERS, module="comfy_extras.nodes_custom_sampler", form="v3")
def ideogram4_scheduler(
    ctx: Context,
    *,
    steps: int = Int(20, min=1, max=4096),
    width: int = _pixels(1024),
    height: int = _pixels(1024),
    mu: float = Float(0.5, min=-10.0, max=10.0, step=0.01),
    std: float = Float(1.75, min=0.01, max=10.0, step=0.01),
) -> Sigmas:
    """Quantiles of a logit-normal distribution of flow times that moves with the size of the picture."""
    return curves.logit_normal(steps, mu + 0.5 * math.log(width * height / 512**2), std)


@node("OptimalStepsScheduler", category=SCHEDULERS, module="comfy_extras.nodes_optimalsteps", form="v3")
def optimal_steps_scheduler(
    ctx: Context,
    *,
    model_type: str = Combo(list(schedules.OPTIMAL)),
    steps: int = Int(20, min=3, max=1000),
    denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01),
) -> Sigmas:
    """Noise levels found by searching for the steps that come closest to many small ones (Pei et al. 2025); in between, log-linear."""
    return schedules.optimal_steps(model_type, steps, denoise)


@node("GITSScheduler", category=SCHEDULERS, module="comfy_extras.nodes_gits", form="v3")
def gits_scheduler(
    ctx: Context,
    *,
    coeff: float = Float(1.2, min=0.8, max=1.5, step=0.05),
    steps: int = Int(10, min=2, max=1000),
    denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01),
) -> Sigmas:
    """Few steps, where the way of a sampling bends most (Chen et al. 2024), for Stable Diffusion 1."""
    return schedules.gits(coeff, steps, denoise)


@node("CFGOverride", title="CFG Override", category="advanced/guidance", module="comfy_extras.nodes_cfg", form="v3")
def cfg_override(
    ctx: Context,
    *,
    model: Model,
    cfg: float = Float(1.0, min=0.0, max=100.0, step=0.1),
    start_percent: float = Float(0.0, min=0.0, max=1.0, step=0.001),
    end_percent: float = Float(1.0, min=0.0, max=1.0, step=0.001),
) -> Model:
    """Another guidance scale for a part of sampling; outside of it the sampler's own holds."""
    first, last = model.noise.percent_to_sigma(start_percent), model.noise.percent_to_sigma(end_percent)

    def tap(guidance: Guidance) -> Tensor:
        inside = last <= float(guidance.sigma[0]) <= first
        if guidance.uncond is None or not inside:
            return guidance.guided()
        return guidance.uncond + (guidance.cond - guidance.uncond) * cfg

    return model.with_tap("cfg", tap)

"""Editing schedules."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from backend.diffusion import curves
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, Wired, node
from nodes.types import FloatOut, Model, Sigmas

sigmas_node = partial(node, category="sampling/custom_sampling/sigmas", module="comfy_extras.nodes_custom_sampler")


class TwoSchedules(NamedTuple):
    high_sigmas: Sigmas
    low_sigmas: Sigmas


@sigmas_node("SplitSigmas")
def split_sigmas(ctx: Context, *, sigmas: Sigmas, step: int = Int(0, min=0, max=10000)) -> TwoSchedules:
    """Two schedules that meet after this many steps."""
    return TwoSchedules(*curves.split(sigmas, step))


@sigmas_node("SplitSigmasDenoise")
def split_sigmas_denoise(ctx: Context, *, sigmas: Sigmas, denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01)) -> TwoSchedules:
    """Two schedules, the second of which does this share of the steps."""
    return TwoSchedules(*curves.split_denoise(sigmas, denoise))


@sigmas_node("FlipSigmas")
def flip_sigmas(ctx: Context, *, sigmas: Sigmas) -> Sigmas:
    """The schedule upside down: from image to noise."""
    return curves.flipped(sigmas)


@sigmas_node("SetFirstSigma")
def set_first_sigma(ctx: Context, *, sigmas: Sigmas, sigma: float = Float(136.0, min=0.0, max=20000.0, step=0.001, round=False)) -> Sigmas:
    """Replace the first sigma."""
    out = sigmas.clone()
    out[:1] = sigma
    return out


@sigmas_node("ExtendIntermediateSigmas")
def extend_intermediate_sigmas(
    ctx: Context,
    *,
    sigmas: Sigmas,
    steps: int = Int(2, min=1, max=100),
    start_at_sigma: float = Float(-1.0, min=-1.0, max=20000.0, step=0.01, round=False),
    end_at_sigma: float = Float(12.0, min=0.0, max=20000.0, step=0.01, round=False),
    spacing: str = Choice(["linear", "cosine", "sine"]),
) -> Sigmas:
    """Divide every step between two noise levels into several; a start of -1 means from the top."""
    return curves.extend(sigmas, steps, start_at_sigma, end_at_sigma, spacing)


@sigmas_node("SamplingPercentToSigma", outputs=("sigma_value",))
def sampling_percent_to_sigma(
    ctx: Context,
    *,
    model: Model = Wired(tooltip="The model whose noise levels are asked for."),
    sampling_percent: float = Float(0.0, min=0.0, max=1.0, step=0.0001),
    return_actual_sigma: bool = Bool(False, tooltip="Give the model's own largest and smallest sigma at 0 and 1."),
) -> FloatOut:
    """The noise level once this share of the sampling is done; at 0 above and at 1 below every level, unless actual ones are wanted."""
    if return_actual_sigma and sampling_percent in (0.0, 1.0):
        return model.noise.sigma_max if sampling_percent == 0.0 else model.noise.sigma_min
    return model.noise.percent_to_sigma(sampling_percent)

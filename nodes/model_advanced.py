"""Reading a model under another noise model, and guidance corrections."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput, NotInstalled
from backend.diffusion import noise
from backend.diffusion.guiders import Guidance
from backend.diffusion.latent import PLAYGROUND
from backend.diffusion.noise import broadcast
from backend.diffusion.randomness import NoiseSource, ScaledNoise, SeededNoise
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, node
from nodes.types import MAX_SIDE, Model

model_node = partial(node, category="advanced/model", module="comfy_extras.nodes_model_advanced")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@model_node("ModelSamplingDiscrete")
def model_sampling_discrete(
    ctx: Context, *, model: Model, sampling: str = Choice(["eps", "v_prediction", "lcm", "x0", "img_to_img"]), zsnr: bool = Bool(False)
) -> Model:
    """What the net predicts, on the noise levels it was trained at; `zsnr` rescales them to zero terminal SNR."""
    old = model.noise
    sigmas = noise.zero_terminal_snr(old.sigmas) if zsnr else old.sigmas
    if sampling == "lcm":
        return model.with_noise(noise.DistilledNoise.of(noise.DiscreteNoise(noise.eps(), sigmas)))
    predictions = {"eps": noise.eps, "v_prediction": noise.v, "x0": noise.x0, "img_to_img": noise.image_to_image}
    return model.with_noise(noise.DiscreteNoise(predictions[sampling](), sigmas))


@model_node("ModelSamplingContinuousEDM")
def model_sampling_continuous_edm(
    ctx: Context,
    *,
    model: Model,
    sampling: str = Choice(["v_prediction", "edm", "edm_playground_v2.5", "eps", "cosmos_rflow"]),
    sigma_max: float = Float(120.0, min=0.0, max=1000.0, step=0.001, round=False),
    sigma_min: float = Float(0.002, min=0.0, max=1000.0, step=0.001, round=False),
) -> Model:
    """Continuous noise levels between two bounds; the net's clock is a quarter of log sigma."""
    _check_bounds(ctx, sigma_min, sigma_max)
    if sampling == "cosmos_rflow":
        return model.with_noise(noise.cosmos_noise(sigma_min, sigma_max))
    if sampling == "edm_playground_v2.5":
        model = replace(model, family=model.family.with_latent(PLAYGROUND))
        return model.with_noise(noise.continuous_edm(noise.edm(), sigma_min, sigma_max))
    predictions = {"v_prediction": noise.v, "edm": noise.edm, "eps": noise.eps}
    return model.with_noise(noise.continuous_edm(predictions[sampling](), sigma_min, sigma_max))


@model_node("ModelSamplingContinuousV")
def model_sampling_continuous_v(
    ctx: Context,
    *,
    model: Model,
    sampling: str = Choice(["v_prediction"]),
    sigma_max: float = Float(500.0, min=0.0, max=1000.0, step=0.001, round=False),
    sigma_min: float = Float(0.03, min=0.0, max=1000.0, step=0.001, round=False),
) -> Model:
    """Continuous noise levels on the cosine clock."""
    _check_bounds(ctx, sigma_min, sigma_max)
    return model.with_noise(noise.continuous_v(noise.v(), sigma_min, sigma_max))


def _check_bounds(ctx: Context, low: float, high: float) -> None:
    if not 0 < low < high:
        raise BadInput(
            f"sigma_min is {low:g} and sigma_max is {high:g}; noise levels lie between them.",
            hint="Make sigma_min positive and smaller than sigma_max.",
            node=ctx.node,
            input="sigma_min",
        )


@model_node("ModelSamplingStableCascade")
def model_sampling_stable_cascade(ctx: Context, *, model: Model, shift: float = Float(2.0, min=0.0, max=100.0, step=0.01)) -> Model:
    """The cosine noise levels of Stable Cascade, shifted."""
    raise NotInstalled("Stable Cascade: this model family is not installed yet.", node=ctx.node)


def _flow(ctx: Context, model: Model, shift: float, multiplier: float) -> Model:
    if shift <= 0:
        raise BadInput(
            f"shift is {shift:g}; it must be positive.", hint="1 leaves the noise levels as they are.", node=ctx.node, input="shift"
        )
    return model.with_noise(noise.flow_noise(shift, clock(model, multiplier)))


def clock(model: Model, otherwise: float) -> float:
    """How far a flow net's clock runs, which no shift changes; `otherwise` for a net that was no flow before."""
    return model.noise.multiplier if isinstance(model.noise, noise.Flow) else otherwise


@model_node("ModelSamplingSD3")
def model_sampling_sd3(ctx: Context, *, model: Model, shift: float = Float(3.0, min=0.0, max=100.0, step=0.01)) -> Model:
    """Rectified flow whose steps are moved towards the noisy end; the clock is the model's, or runs to 1000."""
    return _flow(ctx, model, shift, 1000.0)


@model_node("ModelSamplingAuraFlow")
def model_sampling_aura_flow(ctx: Context, *, model: Model, shift: float = Float(1.73, min=0.0, max=100.0, step=0.01)) -> Model:
    """Rectified flow whose steps are moved towards the noisy end; the clock is the model's, or runs to 1."""
    return _flow(ctx, model, shift, 1.0)


@model_node("ModelSamplingFlux")
def model_sampling_flux(
    ctx: Context,
    *,
    model: Model,
    max_shift: float = Float(1.15, min=0.0, max=100.0, step=0.01),
    base_shift: float = Float(0.5, min=0.0, max=100.0, step=0.01),
    width: int = Int(1024, min=16, max=MAX_SIDE, step=8),
    height: int = Int(1024, min=16, max=MAX_SIDE, step=8),
) -> Model:
    """Rectified flow whose shift grows with the picture: linear in the number of 16 x 16 patches, from base (256) to max (4096)."""
    patches = width * height / 256
    mu = base_shift + (max_shift - base_shift) * (patches - 256) / (4096 - 256)
    return model.with_noise(noise.flow_noise(mu=mu, multiplier=clock(model, 1.0)))


@node("ModelNoiseScale", category="advanced/model", module="nodes")
def model_noise_scale(ctx: Context, *, model: Model, noise_scale: float = Float(1.0, min=0.0, max=100.0, step=0.01)) -> Model:
    """Sample from noise that is so many times as strong, at the start and wherever the sampler adds some: for models trained so."""
    return model.with_tap("sample", Louder(noise_scale))


@dataclass(frozen=True)
class Louder:
    """Sampling with all of its noise multiplied."""

    scale: float

    def __call__(
        self, inner: Callable[..., Tensor], guider: Any, start: Tensor, *rest: Any, seed: int, source: NoiseSource | None, **options: Any
    ) -> Tensor:
        louder = ScaledNoise(source or SeededNoise(seed), self.scale)
        return inner(guider, start * self.scale, *rest, seed=seed, source=louder, **options)


@model_node("RescaleCFG")
def rescale_cfg(ctx: Context, *, model: Model, multiplier: float = Float(0.7, min=0.0, max=1.0, step=0.01)) -> Model:
    """Give guided predictions back the contrast of the positive one (Lin et al. 2023, section 3.4), computed on v."""
    return model.with_tap("cfg", lambda guidance: rescaled(guidance, multiplier))


def rescaled(guidance: Guidance, multiplier: float) -> Tensor:
    """The guided x0 whose v has, by the share `multiplier`, the standard deviation of the conditional one.

    v is what a velocity model predicts: x0 = x / (1 + s^2) - v s / sqrt(1 + s^2). Without an unconditional prediction there is nothing
    to rescale.
    """
    if guidance.uncond is None:
        return guidance.cond
    sigma = broadcast(guidance.sigma, guidance.x).to(guidance.x)
    square = 1 + sigma * sigma
    kept, unit = guidance.x / square, square.sqrt() / sigma
    cond, uncond = (kept - guidance.cond) * unit, (kept - guidance.uncond) * unit
    guided = uncond + guidance.scale * (cond - uncond)
    axes = tuple(range(1, guided.ndim))
    contrast = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return kept - guided * (multiplier * contrast + 1 - multiplier) / unit


@model_node("ModelComputeDtype", category="advanced/debug/model")
def model_compute_dtype(ctx: Context, *, model: Model, dtype: str = Choice(["default", "fp32", "fp16", "bf16"])) -> Model:
    """The number format the net computes in."""
    if dtype == "default":
        return model
    return replace(model, loadable=replace(model.loadable, dtype=DTYPES[dtype]))

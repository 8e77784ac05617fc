"""Keeping away from what a picture should not show, and editing what it does: nodes that are off unless placed."""

from __future__ import annotations

from functools import partial

from backend.diffusion.patches.safe import Strength, safe
from backend.diffusion.samplers import solver
from backend.engine.context import Context
from backend.graph.declare import Combo, Float, Int, node
from backend.imaging.resize import resize
from nodes.types import Conditioning, Model, SamplerWire

SAMPLERS = "sampling/custom_sampling/samplers"


@node("SafeLatentDiffusion", title="Safe Latent Diffusion", category="advanced/guidance", module="nodes")
def safe_latent_diffusion(
    ctx: Context,
    *,
    model: Model,
    concept: Conditioning,
    scale: float = Float(1000.0, min=0.0, max=10000.0, step=1.0),
    threshold: float = Float(
        0.01, min=0.0, max=1.0, step=0.001, tooltip="How far from the concept the picture has to be to be left alone."
    ),
    warmup_steps: int = Int(10, min=0, max=1000, tooltip="Steps before anything is changed."),
    momentum: float = Float(0.3, min=0.0, max=1.0, step=0.01),
    momentum_beta: float = Float(0.4, min=0.0, max=0.99, step=0.01),
) -> Model:
    """Keep away from a concept, where the picture leans to it (Schramowski et al. 2022). Costs one more prediction a step."""
    return safe(model, concept, Strength(scale, threshold, warmup_steps, momentum, momentum_beta))


@node("SamplerDDIMInversion", category=SAMPLERS, module="nodes")
def sampler_ddim_inversion(ctx: Context) -> SamplerWire:
    """Turn a picture into the noise it would come from: with Flip Sigmas, No Noise and a low cfg, on the latent of a picture."""
    return solver("ddim_inversion")


@node("SamplerLCMUpscale", category=SAMPLERS, module="comfy_extras.nodes_advanced_samplers", form="v3")
def sampler_lcm_upscale(
    ctx: Context,
    *,
    scale_ratio: float = Float(1.0, min=0.1, max=20.0, step=0.01),
    scale_steps: int = Int(-1, min=-1, max=1000, step=1),
    upscale_method: str = Combo(["bislerp", "nearest-exact", "bilinear", "area", "bicubic"]),
) -> SamplerWire:
    """Consistency sampling that enlarges the latent on its way; -1 steps: in the first half."""
    steps = None if scale_steps < 0 else scale_steps
    return solver("lcm_upscale", ratio=scale_ratio, steps=steps, resize=partial(resize, method=upscale_method))

"""Keeping away from what a picture should not show, and editing what it does: nodes that are off unless placed."""

from __future__ import annotations

from functools import partial

from backend.diffusion import diffedit
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.patches.safe import Strength, safe
from backend.diffusion.samplers import solver
from backend.diffusion.schedules import SCHEDULERS, sampling_sigmas
from backend.engine.context import Context
from backend.graph.declare import Choice, Combo, Float, Int, Seed, Wired, node
from backend.imaging.resize import resize
from nodes.sampling import watch
from nodes.types import Conditioning, Latent, Mask, Model, SamplerWire

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


@node("DiffEditMask", title="DiffEdit Mask", category="sampling/editing", module="nodes")
def diffedit_mask(
    ctx: Context,
    *,
    model: Model,
    source: Conditioning = Wired(tooltip="What the picture shows."),
    target: Conditioning = Wired(tooltip="What it should show."),
    negative: Conditioning,
    latent: Latent,
    seed: int = Seed(),
    cfg: float = Float(7.5, min=0.0, max=100.0, step=0.1, round=0.01),
    strength: float = Float(0.5, min=0.01, max=1.0, step=0.01, tooltip="How noisy the picture is when the two prompts are compared."),
    maps: int = Int(10, min=1, max=64, tooltip="Comparisons that the mask is a mean of."),
    threshold: float = Float(3.0, min=0.1, max=100.0, step=0.1, tooltip="Higher finds less."),
) -> Mask:
    """Find where a picture has to change for one prompt to become the other (Couairon et al. 2022)."""
    before, after = (CfgGuider(model, text, negative, cfg) for text in (source, target))
    sigma = model.noise.percent_to_sigma(1 - strength)
    found = diffedit.mask(before, after, latent["samples"], sigma, pool=ctx.services.pool, seed=seed, maps=maps, threshold=threshold)
    factor = model.family.latent.factor
    return found.repeat_interleave(factor, -1).repeat_interleave(factor, -2)


@node("DiffEdit", title="DiffEdit", category="sampling/editing", module="nodes")
def diffedit_(
    ctx: Context,
    *,
    model: Model,
    source: Conditioning = Wired(tooltip="What the picture shows."),
    target: Conditioning = Wired(tooltip="What it should show."),
    negative: Conditioning,
    latent_image: Latent,
    mask: Mask = Wired(tooltip="Where it may change: from DiffEdit Mask, or drawn."),
    steps: int = Int(30, min=1, max=10000),
    cfg: float = Float(7.5, min=0.0, max=100.0, step=0.1, round=0.01),
    scheduler: str = Choice(list(SCHEDULERS)),
    denoise: float = Float(0.8, min=0.01, max=1.0, step=0.01),
) -> Latent:
    """Change what a picture shows inside a mask; the rest goes up to its noise and comes back the way it went, and stays as it was."""
    sigmas = sampling_sigmas(model.noise, scheduler, steps, "ddim", denoise)
    before, after = (CfgGuider(model, text, negative, cfg) for text in (source, target))
    report = watch(ctx, 2 * steps, model.family.latent)
    made = diffedit.edit(before, after, latent_image["samples"], mask, sigmas, pool=ctx.services.pool, on_step=report)
    return {**latent_image, "samples": made}

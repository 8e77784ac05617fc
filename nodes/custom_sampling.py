"""Sampling put together from parts: noise, guider, solver, schedule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.diffusion.guiders import BasicGuider, CfgGuider, DualCfgGuider, Guider, PerpNegGuider, TwoModelGuider
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import Solver, Step
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Seed, node
from nodes.sampling import watch
from nodes.types import Conditioning, GuiderWire, Latent, Model, Noise, SamplerWire, Sigmas

custom = partial(node, category="sampling/custom_sampling", module="comfy_extras.nodes_custom_sampler")


class Sampled(NamedTuple):
    output: Latent
    denoised_output: Latent


@dataclass(frozen=True)
class RandomNoise:
    """Unit noise from a seed, the same for every latent of that shape."""

    seed: int

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return prepare_noise(latent["samples"], self.seed, latent.get("batch_index"))


@dataclass(frozen=True)
class NoNoise:
    """Zeros."""

    seed: int = 0

    def generate_noise(self, latent: dict[str, Any]) -> Tensor:
        return torch.zeros(latent["samples"].shape, dtype=latent["samples"].dtype)


def run(ctx: Context, guider: Guider, noise: Noise, solver: Solver, sigmas: Tensor, latent: dict[str, Any]) -> Sampled:
    """Sample and give the latent at the end of the schedule and the last clean estimate."""
    form = guider.model.family.latent
    latent = {**latent, "samples": form.adapt_empty(latent["samples"])}
    report = watch(ctx, max(1, len(sigmas) - 1), form)
    last: list[Tensor] = []

    def on_step(step: Step) -> None:
        last[:] = [step.denoised]
        report(step)

    samples = sample(
        guider, noise.generate_noise(latent), latent["samples"], solver, sigmas, latent.get("noise_mask"),
        pool=ctx.services.pool, on_step=on_step, seed=noise.seed,
    )  # fmt: skip
    clean = form.process_out(last[0].float()).cpu().clone() if last else samples
    return Sampled({**latent, "samples": samples}, {**latent, "samples": clean})


@custom("SamplerCustom")
def sampler_custom(
    ctx: Context,
    *,
    model: Model,
    add_noise: bool = Bool(True),
    noise_seed: int = Seed(),
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    positive: Conditioning,
    negative: Conditioning,
    sampler: SamplerWire,
    sigmas: Sigmas,
    latent_image: Latent,
) -> Sampled:
    """Sample with a solver and a schedule of your own."""
    noise = RandomNoise(noise_seed) if add_noise else NoNoise(noise_seed)
    return run(ctx, CfgGuider(model, positive, negative, cfg), noise, sampler, sigmas, latent_image)


@custom("SamplerCustomAdvanced")
def sampler_custom_advanced(
    ctx: Context, *, noise: Noise, guider: GuiderWire, sampler: SamplerWire, sigmas: Sigmas, latent_image: Latent
) -> Sampled:
    """Sample with noise, guider, solver and schedule of your own."""
    return run(ctx, guider, noise, sampler, sigmas, latent_image)


@custom("CFGGuider", category="sampling/custom_sampling/guiders")
def cfg_guider(
    ctx: Context,
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
) -> GuiderWire:
    """Guide towards one prompt and away from another."""
    return CfgGuider(model, positive, negative, cfg)


@custom("DualCFGGuider", category="sampling/custom_sampling/guiders")
def dual_cfg_guider(
    ctx: Context,
    *,
    model: Model,
    cond1: Conditioning,
    cond2: Conditioning,
    negative: Conditioning,
    cfg_conds: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    cfg_cond2_negative: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    style: str = Choice(["regular", "nested"]),
) -> GuiderWire:
    """Guide by two conditions with a strength each, as editing models need."""
    return DualCfgGuider(model, cond1, cond2, negative, cfg_conds, cfg_cond2_negative, style == "nested")


@custom("DualModelGuider", category="sampling/custom_sampling/guiders", module="nodes")
def dual_model_guider(
    ctx: Context,
    *,
    model: Model,
    positive: Conditioning,
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    model_negative: Model | None = None,
    negative: Conditioning | None = None,
) -> GuiderWire:
    """Guide towards what one model makes of a prompt and away from what another makes of a second one, as Ideogram 4 needs.

    Without `model_negative` one model answers both; without `negative` the other model reads the same prompt.
    """
    if negative is None and model_negative is None:
        return BasicGuider(model, positive)
    return TwoModelGuider(model, positive, positive if negative is None else negative, cfg, model_negative)


@custom("BasicGuider", category="sampling/custom_sampling/guiders")
def basic_guider(ctx: Context, *, model: Model, conditioning: Conditioning) -> GuiderWire:
    """Follow one prompt without guidance."""
    return BasicGuider(model, conditioning)


@custom("RandomNoise", category="sampling/custom_sampling/noise")
def random_noise(ctx: Context, *, noise_seed: int = Seed()) -> Noise:
    """Noise from a seed."""
    return RandomNoise(noise_seed)


@custom("DisableNoise", category="sampling/custom_sampling/noise")
def disable_noise(ctx: Context) -> Noise:
    """No noise."""
    return NoNoise()


@custom("AddNoise", category="_for_testing/custom_sampling/noise")
def add_noise(ctx: Context, *, model: Model, noise: Noise, sigmas: Sigmas, latent_image: Latent) -> Latent:
    """Add as much noise as lies between the first and the last sigma of a schedule (all of it, for a single sigma)."""
    if len(sigmas) == 0:
        return latent_image
    amount = sigmas[0] if len(sigmas) == 1 else (sigmas[0] - sigmas[-1]).abs()
    form = model.family.latent
    samples = latent_image["samples"]
    clean = form.process_in(samples) if bool(samples.any()) else samples
    keep, add = model.noise.prediction.blend(amount)
    noisy = form.process_out(keep * clean + add * noise.generate_noise(latent_image).to(samples))
    return {**latent_image, "samples": torch.nan_to_num(noisy, nan=0.0, posinf=0.0, neginf=0.0)}


@node("PerpNegGuider", category="_for_testing", module="comfy_extras.nodes_perpneg", form="v3", experimental=True)
def perp_neg_guider(
    ctx: Context,
    *,
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    empty_conditioning: Conditioning,
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    neg_scale: float = Float(1.0, min=0.0, max=100.0, step=0.01),
) -> GuiderWire:
    """Push away from the negative prompt only where it does not share a direction with the positive one (Armandpour et al. 2023)."""
    return PerpNegGuider(model, positive, negative, empty_conditioning, cfg, neg_scale)

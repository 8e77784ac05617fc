"""KSampler and its advanced form."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from backend.base.errors import Problem
from backend.diffusion.ksample import ksample
from backend.diffusion.latent import LatentFormat
from backend.diffusion.preview import Decode, encoder
from backend.diffusion.samplers import SAMPLERS, Step
from backend.engine.context import Context, Preview
from backend.families import load
from backend.graph.declare import Choice, Float, Int, Seed, Wired, node
from nodes.schedulers import SCHEDULER_NAMES
from nodes.types import Conditioning, Latent, Model

sampler_node = partial(node, category="sampling", module="nodes")
SAMPLER_NAMES = tuple(SAMPLERS)


def small_decoder(ctx: Context, latent: LatentFormat) -> Decode | None:
    """The tiny decoder for previews of these latents where it is wanted (`--preview-method taesd`) and its files are there."""
    if ctx.services.settings.preview_method != "taesd" or latent.tiny is None:
        return None
    try:
        vae = load.load_tiny_vae(latent.tiny.removesuffix("_decoder"), ctx.services)
    except Problem as problem:
        ctx.log(f"Previews show rough colours: {problem.message} {problem.hint}")
        return None
    pool = ctx.services.pool
    return lambda x0: vae.decode(latent.process_out(x0.float().cpu()), pool).movedim(-1, 1)


def watch(ctx: Context, steps: int, latent: LatentFormat) -> Callable[[Step], None]:
    """A report of each step as progress with a picture of the estimate; raises Interrupted when the run was cancelled."""
    settings, decode = ctx.services.settings, small_decoder(ctx, latent)

    def on_step(step: Step) -> None:
        encode = None if settings.preview_method == "none" else encoder(step.denoised, latent, most=settings.preview_size, decode=decode)
        ctx.progress(min(step.i + 1, steps), steps, Preview(encode) if encode else None)

    return on_step


@sampler_node("KSampler", output_tooltips=("The denoised latent.",))
def ksampler(
    ctx: Context,
    *,
    model: Model = Wired(tooltip="The model that denoises."),
    seed: int = Seed(tooltip="Where the noise comes from; the same seed gives the same picture."),
    steps: int = Int(20, min=1, max=10000, tooltip="How many steps to take. More steps take longer and follow the model more exactly."),
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01, tooltip="How strongly to follow the prompt."),
    sampler_name: str = Choice(SAMPLER_NAMES, tooltip="The solver that takes the steps."),
    scheduler: str = Choice(SCHEDULER_NAMES, tooltip="How the steps are spread over the noise levels."),
    positive: Conditioning = Wired(tooltip="What the picture should show."),
    negative: Conditioning = Wired(tooltip="What the picture should not show."),
    latent_image: Latent = Wired(tooltip="The latent to denoise."),
    denoise: float = Float(1.0, min=0.0, max=1.0, step=0.01, tooltip="How much of the latent is replaced; lower keeps more of it."),
) -> Latent:
    """Denoise a latent, guided by what the picture should and should not show."""
    return ksample(
        model, seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image, denoise,
        pool=ctx.services.pool, on_step=watch(ctx, steps, model.family.latent),
    )  # fmt: skip


@sampler_node("KSamplerAdvanced", title="KSampler (Advanced)")
def ksampler_advanced(
    ctx: Context,
    *,
    model: Model,
    add_noise: str = Choice(["enable", "disable"]),
    noise_seed: int = Seed(),
    steps: int = Int(20, min=1, max=10000),
    cfg: float = Float(8.0, min=0.0, max=100.0, step=0.1, round=0.01),
    sampler_name: str = Choice(SAMPLER_NAMES),
    scheduler: str = Choice(SCHEDULER_NAMES),
    positive: Conditioning,
    negative: Conditioning,
    latent_image: Latent,
    start_at_step: int = Int(0, min=0, max=10000),
    end_at_step: int = Int(10000, min=0, max=10000),
    return_with_leftover_noise: str = Choice(["disable", "enable"]),
) -> Latent:
    """Take some of the steps: a sampling can be shared by several models or prompts."""
    return ksample(
        model, noise_seed, steps, cfg, sampler_name, scheduler, positive, negative, latent_image,
        pool=ctx.services.pool, on_step=watch(ctx, max(1, min(end_at_step, steps) - start_at_step), model.family.latent),
        disable_noise=add_noise == "disable", start_step=start_at_step, last_step=end_at_step,
        force_full_denoise=return_with_leftover_noise == "disable",
    )  # fmt: skip

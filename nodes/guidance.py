"""Guidance: how the predictions for the prompts become one. Each node gives a model that is guided in another way."""

from __future__ import annotations

import re
from functools import partial

from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import Guidance
from backend.diffusion.guiders.perp_neg import perp_neg as perp_neg_formula
from backend.diffusion.patches import again, guided
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, Text, node
from nodes.types import Conditioning, Model

UNET = "model_patches/unet"
GUIDANCE = "advanced/guidance"
v3 = partial(node, form="v3")
ours = partial(node, category=GUIDANCE, module="nodes")


def _percent(default: float, step: float = 0.001) -> float:
    widget: float = Float(default, min=0.0, max=1.0, step=step)
    return widget


@v3("PerturbedAttentionGuidance", category=UNET, module="comfy_extras.nodes_pag")
def perturbed_attention_guidance(
    ctx: Context, *, model: Model, scale: float = Float(3.0, min=0.0, max=100.0, step=0.01, round=0.01)
) -> Model:
    """Guide away from a prediction whose self-attention sees nothing but itself (Ahn et al. 2024). Costs one more prediction a step."""
    return again.perturbed(model, scale)


@v3("SelfAttentionGuidance", title="Self-Attention Guidance", category="_for_testing", module="comfy_extras.nodes_sag", experimental=True)
def self_attention_guidance(
    ctx: Context,
    *,
    model: Model,
    scale: float = Float(0.5, min=-2.0, max=5.0, step=0.01),
    blur_sigma: float = Float(2.0, min=0.0, max=10.0, step=0.1),
) -> Model:
    """Guide away from a prediction blurred where the net attends most (Hong et al. 2023). Costs one more prediction a step."""
    return again.self_attention(model, scale, blur_sigma)


@v3("APG", title="Adaptive Projected Guidance", category="sampling/custom_sampling", module="comfy_extras.nodes_apg")
def apg(
    ctx: Context,
    *,
    model: Model,
    eta: float = Float(1.0, min=-10.0, max=10.0, step=0.01),
    norm_threshold: float = Float(5.0, min=0.0, max=50.0, step=0.1),
    momentum: float = Float(0.0, min=-5.0, max=1.0, step=0.01),
) -> Model:
    """Weigh the part of the guidance that only saturates colours by `eta`, and bound its length (Sadat et al. 2024)."""
    return guided.projected(model, eta, norm_threshold, momentum)


@v3("CFGZeroStar", category=GUIDANCE, module="comfy_extras.nodes_cfg", outputs=("patched_model",))
def cfg_zero_star(ctx: Context, *, model: Model) -> Model:
    """Scale the unconditional prediction so that it fits the conditional one best (Fan et al. 2025)."""
    return guided.after(model, guided.zero_star)


@v3("CFGNorm", category=GUIDANCE, module="comfy_extras.nodes_cfg", outputs=("patched_model",), experimental=True)
def cfg_norm(ctx: Context, *, model: Model, strength: float = Float(1.0, min=0.0, max=100.0, step=0.01)) -> Model:
    """Hold guided predictions to the length of the conditional one."""
    return guided.after(model, guided.normed, strength=strength)


@v3("TCFG", title="Tangential Damping CFG", category=GUIDANCE, module="comfy_extras.nodes_tcfg", outputs=("patched_model",))
def tcfg(ctx: Context, *, model: Model) -> Model:
    """Take out of the unconditional prediction what does not lie along the common direction (Kwon et al. 2025)."""
    return guided.on_both(model, guided.damped)


@v3(
    "Mahiro",
    title="Mahiro is so cute that she deserves a better guidance function!! (。・ω・。)",
    category="_for_testing",
    module="comfy_extras.nodes_mahiro",
    outputs=("patched_model",),
    experimental=True,
)
def mahiro(ctx: Context, *, model: Model) -> Model:
    """Follow the prompt more where positive and negative prediction disagree."""
    return guided.after(model, guided.mahiro)


@v3("FreSca", title="FreSca", category="_for_testing", module="comfy_extras.nodes_fresca", experimental=True)
def fresca(
    ctx: Context,
    *,
    model: Model,
    scale_low: float = Float(1.0, min=0, max=10, step=0.01),
    scale_high: float = Float(1.25, min=0, max=10, step=0.01),
    freq_cutoff: int = Int(20, min=1, max=10000, step=1),
) -> Model:
    """Scale low and high frequencies of the guidance on their own (Huang et al. 2025)."""
    return guided.fresca(model, scale_low, scale_high, freq_cutoff)


@v3("RenormCFG", category="advanced/model", module="comfy_extras.nodes_lumina2")
def renorm_cfg(
    ctx: Context,
    *,
    model: Model,
    cfg_trunc: float = Float(100, min=0.0, max=100.0, step=0.01),
    renorm_cfg: float = Float(1.0, min=0.0, max=100.0, step=0.01),
) -> Model:
    """Guide only below a noise level, and never to a longer prediction than `renorm_cfg` times the conditional one."""
    return model.with_tap("cfg", partial(guided.renormed, truncate=cfg_trunc, renorm=renorm_cfg))


@v3("Epsilon Scaling", category=UNET, module="comfy_extras.nodes_eps")
def epsilon_scaling(
    ctx: Context, *, model: Model, scaling_factor: float = Float(1.005, min=0.5, max=1.5, step=0.001, display="number")
) -> Model:
    """Divide the predicted noise by a number a little above 1, against the drift of many steps (Ning et al. 2023)."""
    return guided.after(model, guided.noise_scaled, factor=scaling_factor)


@node("VideoLinearCFGGuidance", category="sampling/video_models", module="comfy_extras.nodes_video_model")
def video_linear_cfg_guidance(
    ctx: Context, *, model: Model, min_cfg: float = Float(1.0, min=0.0, max=100.0, step=0.5, round=0.01)
) -> Model:
    """A guidance scale that rises from frame to frame."""
    return guided.over_frames(model, min_cfg, "linear")


@node("VideoTriangleCFGGuidance", category="sampling/video_models", module="comfy_extras.nodes_video_model")
def video_triangle_cfg_guidance(
    ctx: Context, *, model: Model, min_cfg: float = Float(1.0, min=0.0, max=100.0, step=0.5, round=0.01)
) -> Model:
    """A guidance scale that rises to the middle frame and falls again."""
    return guided.over_frames(model, min_cfg, "triangle")


@v3(
    "PerpNeg",
    title="Perp-Neg (DEPRECATED by PerpNegGuider)",
    category="_for_testing",
    module="comfy_extras.nodes_perpneg",
    deprecated=True,
    experimental=True,
)
def perp_neg(
    ctx: Context, *, model: Model, empty_conditioning: Conditioning, neg_scale: float = Float(1.0, min=0.0, max=100.0, step=0.01)
) -> Model:
    """Push away from the negative prompt only where it differs in direction from the positive one."""

    def tap(guidance: Guidance) -> Tensor:
        if guidance.uncond is None or guidance.ask is None:
            return guidance.cond
        (empty,) = guidance.ask(guidance.x, guidance.sigma, ("empty",))
        return perp_neg_formula(guidance.cond, guidance.uncond, empty, neg_scale, guidance.scale)

    return model.with_tap("cfg", tap).with_tap("conds", ("empty", empty_conditioning))


def layers(ctx: Context, input: str, text: str) -> list[int]:
    """The numbers in a text such as "7, 8, 9"."""
    if re.search(r"[^\d\s,]", text):
        raise BadInput(f"`{input}` is {text!r:.60}: layers are numbers.", hint="Write them like 7, 8, 9.", node=ctx.node, input=input)
    return [int(number) for number in re.findall(r"\d+", text)]


def _dit_places(ctx: Context, double: str, single: str) -> list[tuple[str, int]]:
    twice, once = layers(ctx, "double_layers", double), layers(ctx, "single_layers", single)
    return [*(("double_block", i) for i in twice), *(("single_block", i) for i in once)]


def _layer_list() -> str:
    widget: str = Text("7, 8, 9", multiline=False)
    return widget


@v3("SkipLayerGuidanceDiT", category=GUIDANCE, module="comfy_extras.nodes_slg", experimental=True)
def skip_layer_guidance_dit(
    ctx: Context,
    *,
    model: Model,
    double_layers: str = _layer_list(),
    single_layers: str = _layer_list(),
    scale: float = Float(3.0, min=0.0, max=10.0, step=0.1),
    start_percent: float = _percent(0.01),
    end_percent: float = _percent(0.15),
    rescaling_scale: float = Float(0.0, min=0.0, max=10.0, step=0.01),
) -> Model:
    """Guide away from a prediction made without some of a transformer's blocks, for a part of sampling."""
    places = _dit_places(ctx, double_layers, single_layers)
    return again.skip_layers(model, places, scale, start_percent, end_percent, rescaling_scale) if places else model


@v3("SkipLayerGuidanceDiTSimple", category=GUIDANCE, module="comfy_extras.nodes_slg", experimental=True)
def skip_layer_guidance_dit_simple(
    ctx: Context,
    *,
    model: Model,
    double_layers: str = _layer_list(),
    single_layers: str = _layer_list(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
) -> Model:
    """Leave blocks out of the unconditional prediction only; costs nothing more than plain guidance."""
    places = _dit_places(ctx, double_layers, single_layers)
    return again.skip_layers_of_uncond(model, places, start_percent, end_percent) if places else model


@v3("SkipLayerGuidanceSD3", category=GUIDANCE, module="comfy_extras.nodes_sd3", experimental=True)
def skip_layer_guidance_sd3(
    ctx: Context,
    *,
    model: Model,
    layers: str = _layer_list(),
    scale: float = Float(3.0, min=0.0, max=10.0, step=0.1),
    start_percent: float = _percent(0.01),
    end_percent: float = _percent(0.15),
) -> Model:
    """Guide away from a prediction made without some joint blocks, for a part of sampling."""
    places = _dit_places(ctx, layers, "")
    return again.skip_layers(model, places, scale, start_percent, end_percent) if places else model


@ours("SkipLayerGuidanceUNet")
def skip_layer_guidance_unet(
    ctx: Context,
    *,
    model: Model,
    block: str = Choice(
        ["middle", "input", "output", "double_block", "single_block"],
        tooltip="Which side of a UNet the numbers count on, or which blocks of a transformer (Stable Diffusion 3: double, PixArt: single).",
    ),
    numbers: str = Text("0", multiline=False),
    scale: float = Float(3.0, min=0.0, max=10.0, step=0.1),
    start_percent: float = _percent(0.01),
    end_percent: float = _percent(0.3),
) -> Model:
    """Guide away from a prediction whose blocks of these numbers do not attend (self-attention is the identity there)."""
    places = [(block, number) for number in layers(ctx, "numbers", numbers)]
    return again.perturbed(model, scale, places, start_percent, end_percent) if places else model


@ours("DynamicCFG")
def dynamic_cfg(
    ctx: Context,
    *,
    model: Model,
    cfg_start: float = Float(7.0, min=0.0, max=100.0, step=0.1),
    cfg_end: float = Float(1.5, min=0.0, max=100.0, step=0.1),
    curve: str = Choice(["linear", "cosine", "constant"], tooltip="How the scale goes from start to end."),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
    guide_outside: bool = Bool(False, tooltip="Guide by the first scale before and by the last after the range, instead of not at all."),
) -> Model:
    """A guidance scale that changes while sampling, or guidance in an interval only (Kynkäänniemi et al. 2024)."""
    return guided.scheduled(model, guided.ramp(model, cfg_start, cfg_end, curve, start_percent, end_percent, guide_outside))

"""Values that many model families read from their conditioning: guidance, frame rates, reference pictures, areas of films."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Combo, Float, Text, node
from backend.imaging.resize import resize_image
from nodes.conditioning import with_values
from nodes.types import Clip, Conditioning, Image, Latent

v3 = partial(node, form="v3")
FLUX = partial(node, form="v3", category="advanced/conditioning/flux", module="comfy_extras.nodes_flux")


class Pair(NamedTuple):
    positive: Conditioning
    negative: Conditioning


def appended(conditioning: list[Any], key: str, value: Any) -> list[Any]:
    """Entries whose list under `key` is longer by a value."""
    return [[tokens, {**extra, key: [*extra.get(key, []), value]}] for tokens, extra in conditioning]


@FLUX("FluxGuidance")
def flux_guidance(ctx: Context, *, conditioning: Conditioning, guidance: float = Float(3.5, min=0.0, max=100.0, step=0.1)) -> Conditioning:
    """The guidance scale that distilled models are told."""
    return with_values(conditioning, guidance=guidance)


@FLUX("FluxDisableGuidance")
def flux_disable_guidance(ctx: Context, *, conditioning: Conditioning) -> Conditioning:
    """Tell a distilled model no guidance scale."""
    return with_values(conditioning, guidance=None)


SIZES = [
    (672, 1568), (688, 1504), (720, 1456), (752, 1392), (800, 1328), (832, 1248), (880, 1184), (944, 1104), (1024, 1024), (1104, 944),
    (1184, 880), (1248, 832), (1328, 800), (1392, 752), (1456, 720), (1504, 688), (1568, 672),
]  # fmt: skip


@FLUX("FluxKontextImageScale")
def flux_kontext_image_scale(ctx: Context, *, image: Image) -> Image:
    """Resize to the nearest of the sizes that Flux Kontext was trained with."""
    aspect = image.shape[2] / image.shape[1]
    width, height = min(SIZES, key=lambda size: abs(size[0] / size[1] - aspect))
    return resize_image(image, width, height, "lanczos", "center")


@FLUX("FluxKontextMultiReferenceLatentMethod", experimental=True)
def flux_kontext_multi_reference_latent_method(
    ctx: Context,
    *,
    conditioning: Conditioning,
    reference_latents_method: str = Combo(["offset", "index", "uxo/uno", "index_timestep_zero"]),
) -> Conditioning:
    """How several reference pictures are placed beside the latent."""
    return with_values(conditioning, reference_latents_method="uxo" if "ux" in reference_latents_method else reference_latents_method)


@v3("ReferenceLatent", category="advanced/conditioning/edit_models", module="comfy_extras.nodes_edit_model")
def reference_latent(ctx: Context, *, conditioning: Conditioning, latent: Latent | None = None) -> Conditioning:
    """A picture that an editing model looks at; several may follow each other."""
    return conditioning if latent is None else appended(conditioning, "reference_latents", latent["samples"])


@v3(
    "LTXVConditioning",
    category="conditioning/video_models",
    module="comfy_extras.nodes_lt",
)
def ltxv_conditioning(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    frame_rate: float = Float(25.0, min=0.0, max=1000.0, step=0.01),
) -> Pair:
    """The frame rate that a video model is told."""
    return Pair(with_values(positive, frame_rate=frame_rate), with_values(negative, frame_rate=frame_rate))


@node("ConditioningStableAudio", category="conditioning", module="comfy_extras.nodes_audio")
def conditioning_stable_audio(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    seconds_start: float = Float(0.0, min=0.0, max=1000.0, step=0.1),
    seconds_total: float = Float(47.0, min=0.0, max=1000.0, step=0.1),
) -> Pair:
    """Where in a piece of music the sound begins, and how long the piece is."""
    values = {"seconds_start": seconds_start, "seconds_total": seconds_total}
    return Pair(with_values(positive, **values), with_values(negative, **values))


@v3("StableCascade_StageB_Conditioning", category="conditioning/stable_cascade", module="comfy_extras.nodes_stable_cascade")
def stable_cascade_stage_b(ctx: Context, *, conditioning: Conditioning, stage_c: Latent) -> Conditioning:
    """What stage C made, for stage B."""
    return with_values(conditioning, stable_cascade_prior=stage_c["samples"])


def _part(default: float) -> float:
    widget: float = Float(default, min=0, max=1.0, step=0.01)
    return widget


@node("ConditioningSetAreaPercentageVideo", category="conditioning", module="comfy_extras.nodes_video_model")
def conditioning_set_area_percentage_video(
    ctx: Context,
    *,
    conditioning: Conditioning,
    width: float = _part(1.0),
    height: float = _part(1.0),
    temporal: float = _part(1.0),
    x: float = _part(0),
    y: float = _part(0),
    z: float = _part(0),
    strength: float = Float(1.0, min=0.0, max=10.0, step=0.01),
) -> Conditioning:
    """Apply a prompt to a part of a film: of the picture, and of its time."""
    area = ("percentage", temporal, height, width, z, y, x)
    return with_values(conditioning, area=area, strength=strength, set_area_to_bounds=False)


@v3("CLIPTextEncodeControlnet", category="_for_testing/conditioning", module="comfy_extras.nodes_cond", experimental=True)
def clip_text_encode_controlnet(
    ctx: Context, *, clip: Clip, conditioning: Conditioning, text: str = Text(multiline=True, dynamicPrompts=True)
) -> Conditioning:
    """A prompt of its own for the control nets of a conditioning."""
    if clip is None:
        raise BadInput("There is no text encoder on this wire.", hint="Load one with Load CLIP.", node=ctx.node, input="clip")
    ((tokens, extra), *_) = clip.conditioning(text, ctx.services.pool)
    return with_values(conditioning, cross_attn_controlnet=tokens, pooled_output_controlnet=extra.get("pooled_output"))

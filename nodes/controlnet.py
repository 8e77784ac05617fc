"""ControlNets and T2I-Adapters: pictures that steer sampling."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch

from backend.base.errors import BadInput
from backend.control.control import Control
from backend.control.load import load_control
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, FileChoice, Float, node
from backend.imaging.resize import resize
from nodes.loaders import open_named
from nodes.types import Conditioning, ControlNet, Image, Mask, Model, Vae

loader = partial(node, category="loaders", module="nodes")
apply = partial(node, category="conditioning/controlnet", module="nodes")
extra = partial(node, category="conditioning/controlnet", module="comfy_extras.nodes_controlnet")
UNION_TYPES = (
    "openpose", "depth", "hed/pidi/scribble/ted", "canny/lineart/anime_lineart/mlsd", "normal", "segment", "tile", "repaint"
)  # fmt: skip
"""What union nets call their kinds of picture, in the order of their numbers."""


class TwoConditionings(NamedTuple):
    positive: Conditioning
    negative: Conditioning


def _strength() -> float:
    widget: float = Float(1.0, min=0.0, max=10.0, step=0.01)
    return widget


def _percent(default: float) -> float:
    widget: float = Float(default, min=0.0, max=1.0, step=0.001)
    return widget


@loader("ControlNetLoader", title="Load ControlNet Model")
def control_net_loader(ctx: Context, *, control_net_name: str = FileChoice("controlnet")) -> ControlNet:
    """Load a ControlNet or T2I-Adapter: a net that steers sampling by a picture."""
    return open_named(ctx, "control_net_name", "controlnet", control_net_name, lambda path: load_control(path, ctx.services))


@loader("DiffControlNetLoader", title="Load ControlNet Model (diff)")
def diff_control_net_loader(ctx: Context, *, model: Model, control_net_name: str = FileChoice("controlnet")) -> ControlNet:
    """Load a ControlNet that may be stored as a difference to a model. The model's weights are not copied."""
    return open_named(ctx, "control_net_name", "controlnet", control_net_name, lambda path: load_control(path, ctx.services, model))


def _steered(
    ctx: Context,
    lists: tuple[Any, ...],
    control_net: Any,
    image: torch.Tensor,
    strength: float,
    start: float,
    end: float,
    to_uncond: bool,
    vae: Any = None,
    keep: torch.Tensor | None = None,
) -> list[Any]:
    """Conditionings with the control added to those they have; entries with the same earlier control share the new one."""
    if strength == 0:
        return list(lists)
    if image.ndim != 4:
        raise BadInput(f"The control picture has the shape {list(image.shape)}.", hint="Give it an image.", node=ctx.node, input="image")
    made: dict[int, Any] = {}

    def after(previous: Any) -> Any:
        if id(previous) not in made:
            made[id(previous)] = _applied(control_net, image, strength, start, end, previous, vae, keep)
        return made[id(previous)]

    return [
        [[tensor, {**d, "control": after(d.get("control")), "control_apply_to_uncond": to_uncond}] for tensor, d in conditioning]
        for conditioning in lists
    ]


def _applied(
    control_net: Any, image: torch.Tensor, strength: float, start: float, end: float, previous: Any, vae: Any, keep: torch.Tensor | None
) -> Any:
    """A control of ours, or of the node-pack world, with a picture."""
    if isinstance(control_net, Control):
        return control_net.applied(image, strength, start, end, vae, keep).after(previous)
    copy = control_net.copy().set_cond_hint(image.movedim(-1, 1), strength, (start, end))
    copy.set_previous_controlnet(previous)
    return copy


@apply("ControlNetApply", title="Apply ControlNet (OLD)", deprecated=True)
def control_net_apply(
    ctx: Context, *, conditioning: Conditioning, control_net: ControlNet, image: Image, strength: float = _strength()
) -> Conditioning:
    """Steer sampling by a picture, in the positive and the negative prompt alike."""
    steered: Conditioning = _steered(ctx, (conditioning,), control_net, image, strength, 0.0, 1.0, True)[0]
    return steered


@apply("ControlNetApplyAdvanced", title="Apply ControlNet")
def control_net_apply_advanced(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    image: Image,
    strength: float = _strength(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
    vae: Vae | None = None,
) -> TwoConditionings:
    """Steer a part of sampling by a picture. Several can be chained."""
    return TwoConditionings(*_steered(ctx, (positive, negative), control_net, image, strength, start_percent, end_percent, False, vae))


@node(
    "ControlNetApplySD3",
    title="Apply Controlnet with VAE",
    category="conditioning/controlnet",
    module="comfy_extras.nodes_sd3",
    deprecated=True,
    form="v3",
)
def control_net_apply_sd3(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    strength: float = _strength(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
) -> TwoConditionings:
    """Apply ControlNet, for nets that see the picture as a latent."""
    return TwoConditionings(*_steered(ctx, (positive, negative), control_net, image, strength, start_percent, end_percent, False, vae))


@extra("SetUnionControlNetType")
def set_union_control_net_type(ctx: Context, *, control_net: ControlNet, type: str = Choice(["auto", *UNION_TYPES])) -> ControlNet:
    """Say which kind of picture a union ControlNet is given; `auto` lets it find out."""
    types = (UNION_TYPES.index(type),) if type in UNION_TYPES else ()
    known = getattr(getattr(control_net.source, "sizes", None), "union", None)
    if types and known is None:
        raise BadInput(
            "This control net knows one kind of picture only.",
            hint="Set Union ControlNet Type is for union nets; remove it.",
            node=ctx.node,
            input="control_net",
        )
    if types and known is not None and types[0] >= known:
        text = f"This union ControlNet knows {known} kinds of picture; {type} is not one of them."
        raise BadInput(text, hint="Choose another type.", node=ctx.node, input="type")
    return replace(control_net, types=types)


@extra("ControlNetInpaintingAliMamaApply")
def control_net_inpainting_apply(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    control_net: ControlNet,
    vae: Vae,
    image: Image,
    mask: Mask,
    strength: float = _strength(),
    start_percent: float = _percent(0.0),
    end_percent: float = _percent(1.0),
) -> TwoConditionings:
    """Steer sampling by a picture with a hole. A net that takes no mask sees the whole picture."""
    keep = None
    if getattr(control_net.source, "takes_mask", False):
        keep = 1.0 - mask.reshape(-1, 1, *mask.shape[-2:])
        image = image * resize(keep, image.shape[2], image.shape[1], "bilinear", "center").round().movedim(1, -1)
    else:
        ctx.log("This ControlNet takes no mask: it is shown the whole picture.")
    lists = (positive, negative)
    return TwoConditionings(*_steered(ctx, lists, control_net, image, strength, start_percent, end_percent, False, vae, keep))


@node("ControlNetGuessMode", title="ControlNet Guess Mode", category="conditioning/controlnet", module="emulsion")
def control_net_guess_mode(ctx: Context, *, control_net: ControlNet, enabled: bool = Bool(True)) -> ControlNet:
    """Let a ControlNet follow its picture without a prompt: weak in shallow layers and absent from the negative. Use a cfg of 3 to 5."""
    return replace(control_net, guess=enabled)


@node("InpaintPreprocessor", title="Inpaint Control Picture", category="image/preprocessors", module="emulsion")
def inpaint_preprocessor(
    ctx: Context,
    *,
    image: Image,
    mask: Mask,
    black: bool = Bool(False, tooltip="Black what is to be painted, as some SDXL nets want it, rather than mark it."),
) -> Image:
    """What an inpainting ControlNet is shown: the picture, with what is to be painted marked by -1 (or black)."""
    hole = resize(mask.reshape(-1, 1, *mask.shape[-2:]), image.shape[2], image.shape[1], "bilinear", "center").movedim(1, -1) > 0.5
    return torch.where(hole, torch.tensor(0.0 if black else -1.0), image[..., :3])

"""Nodes of Wan: a film from its first picture, and where its tokens stand."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.families.wan.net import ROPE, RopeScale, WanSizes
from backend.graph.declare import Float, Int, node
from backend.imaging.resize import resize
from nodes.conditioning import with_values
from nodes.types import MAX_SIDE, ClipVisionOutput, Conditioning, Image, Latent, Model, Vae

wan = partial(node, module="comfy_extras.nodes_wan", category="conditioning/video_models", form="v3")
CELL, SPAN = 8, 4


class Begun(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


@wan("WanImageToVideo")
def wan_image_to_video(
    ctx: Context,
    *,
    positive: Conditioning,
    negative: Conditioning,
    vae: Vae,
    width: int = Int(832, min=16, max=MAX_SIDE, step=16),
    height: int = Int(480, min=16, max=MAX_SIDE, step=16),
    length: int = Int(81, min=1, max=MAX_SIDE, step=4),
    batch_size: int = Int(1, min=1, max=4096),
    clip_vision_output: ClipVisionOutput | None = None,
    start_image: Image | None = None,
) -> Begun:
    """Nothing yet, for a film that begins with the given pictures."""
    frames = (length - 1) // SPAN + 1
    if start_image is not None:
        first = resize(start_image[:length, :, :, :3].movedim(-1, 1), width, height, "bilinear", "center").movedim(1, -1)
        film = torch.cat([first, torch.full((length - len(first), height, width, 3), 0.5)])
        mask = torch.ones(1, 1, frames, height // CELL, width // CELL)
        mask[:, :, : (len(first) - 1) // SPAN + 1] = 0.0
        known = {"concat_latent_image": vae.encode(film, ctx.services.pool, check=ctx.check), "concat_mask": mask}
        positive, negative = (with_values(c, **known) for c in (positive, negative))
    if clip_vision_output is not None:
        positive, negative = (with_values(c, clip_vision_output=clip_vision_output) for c in (positive, negative))
    return Begun(positive, negative, {"samples": torch.zeros(batch_size, 16, frames, height // CELL, width // CELL)})


def _scale() -> float:
    widget: float = Float(1.0, min=0.0, max=100.0, step=0.1)
    return widget


def _shift() -> float:
    widget: float = Float(0.0, min=-256.0, max=256.0, step=0.1)
    return widget


@node("ScaleROPE", category="advanced/model_patches", module="comfy_extras.nodes_rope", form="v3", experimental=True)
def scale_rope(
    ctx: Context,
    *,
    model: Model,
    scale_x: float = _scale(),
    shift_x: float = _shift(),
    scale_y: float = _scale(),
    shift_y: float = _shift(),
    scale_t: float = _scale(),
    shift_t: float = _shift(),
) -> Model:
    """Stretch and move the places where a net thinks its columns, rows and frames are."""
    if not isinstance(model.sizes, WanSizes):
        raise BadInput(
            f"The model is {model.family.name}; places can be stretched for Wan only.",
            hint="Remove the node.",
            node=ctx.node,
            input="model",
        )
    return model.with_tap(ROPE, RopeScale((scale_t, scale_y, scale_x), (shift_t, shift_y, shift_x)))

"""A thing in a picture from another side."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Float, Int, node
from backend.imaging.resize import resize_image
from nodes.types import MAX_SIDE, ClipVision, Conditioning, Image, Latent, Vae

zero123 = partial(node, category="conditioning/3d_models", module="comfy_extras.nodes_stable3d", form="v3")


class Turned(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


def _side() -> int:
    widget: int = Int(256, min=16, max=MAX_SIDE, step=8)
    return widget


def _degrees() -> float:
    widget: float = Float(0.0, min=-180.0, max=180.0, step=0.1, round=False)
    return widget


def camera(elevation: float, azimuth: float) -> Tensor:
    """[1, 1, 4]: how much lower than the picture's the camera stands, where it went around the thing, and the height the picture's has."""
    lower = math.radians((90 - elevation) - 90)
    around = math.radians(azimuth)
    return torch.tensor([[[lower, math.sin(around), math.cos(around), math.radians(90)]]])


def _turned(
    ctx: Context, clip_vision: Any, init_image: Tensor, vae: Any, width: int, height: int, cameras: list[Tensor], latent: dict[str, Any]
) -> Turned:
    pool = ctx.services.pool
    seen = clip_vision.encode_image(init_image, pool).image_embeds
    if seen is None:
        text = "The image encoder gives no embedding of the whole picture."
        raise BadInput(text, hint="Use the image encoder of the checkpoint.", node=ctx.node, input="clip_vision")
    whole = seen[:1].unsqueeze(0)
    shown = vae.encode(resize_image(init_image, width, height, "bilinear", "center")[..., :3], pool, check=ctx.check)
    moves = torch.cat(cameras)
    positive = torch.cat([whole.expand(len(moves), -1, -1), moves], dim=-1)
    return Turned(
        [[positive, {"concat_latent_image": shown}]],
        [[torch.zeros_like(whole), {"concat_latent_image": torch.zeros_like(shown)}]],
        latent,
    )


@zero123("StableZero123_Conditioning")
def stable_zero123_conditioning(
    ctx: Context,
    *,
    clip_vision: ClipVision,
    init_image: Image,
    vae: Vae,
    width: int = _side(),
    height: int = _side(),
    batch_size: int = Int(1, min=1, max=4096),
    elevation: float = _degrees(),
    azimuth: float = _degrees(),
) -> Turned:
    """Ask a Zero123 model for the thing in a picture on white ground as a camera sees it that went up and around."""
    latent = {"samples": torch.zeros(batch_size, 4, height // 8, width // 8)}
    return _turned(ctx, clip_vision, init_image, vae, width, height, [camera(elevation, azimuth)], latent)


@zero123("StableZero123_Conditioning_Batched")
def stable_zero123_conditioning_batched(
    ctx: Context,
    *,
    clip_vision: ClipVision,
    init_image: Image,
    vae: Vae,
    width: int = _side(),
    height: int = _side(),
    batch_size: int = Int(1, min=1, max=4096),
    elevation: float = _degrees(),
    azimuth: float = _degrees(),
    elevation_batch_increment: float = _degrees(),
    azimuth_batch_increment: float = _degrees(),
) -> Turned:
    """As StableZero123_Conditioning, where each picture of the batch goes a step farther. All begin with the same noise."""
    cameras = [camera(elevation + i * elevation_batch_increment, azimuth + i * azimuth_batch_increment) for i in range(batch_size)]
    latent = {"samples": torch.zeros(batch_size, 4, height // 8, width // 8), "batch_index": [0] * batch_size}
    return _turned(ctx, clip_vision, init_image, vae, width, height, cameras, latent)

"""Cameras that move."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from torch import Tensor

from backend.engine.context import Context
from backend.families.wan.rays import MOTIONS, Lens, packed, poses, rays
from backend.graph.declare import Combo, Float, Int, node
from backend.graph.schema import Socket
from nodes.types import MAX_SIDE, IntOut

CameraRays = Annotated[Tensor, Socket("WAN_CAMERA_EMBEDDING")]


class Seen(NamedTuple):
    camera_embedding: CameraRays
    width: IntOut
    height: IntOut
    length: IntOut


def _side(default: int) -> int:
    widget: int = Int(default, min=16, max=MAX_SIDE, step=16)
    return widget


def _part(step: float) -> float:
    widget: float = Float(0.5, min=0, max=1, step=step, optional=True)
    return widget


@node("WanCameraEmbedding", category="camera", module="comfy_extras.nodes_camera_trajectory", form="v3")
def wan_camera_embedding(
    ctx: Context,
    *,
    camera_pose: str = Combo(list(MOTIONS), "Static"),
    width: int = _side(832),
    height: int = _side(480),
    length: int = Int(81, min=1, max=MAX_SIDE, step=4),
    speed: float = Float(1.0, min=0, max=10.0, step=0.1, optional=True),
    fx: float = _part(1e-9),
    fy: float = _part(1e-9),
    cx: float = _part(0.01),
    cy: float = _part(0.01),
) -> Seen:
    """The way of a camera through a film, for Wan Fun Camera; focal lengths and the middle are parts of the picture's sides."""
    where = poses(MOTIONS[camera_pose], speed, length)
    return Seen(packed(rays(where, Lens(fx, fy, cx, cy), width, height)), width, height, length)

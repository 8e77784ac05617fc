"""The UNet and its parts under their published names."""

from __future__ import annotations

from typing import Any

from backend.families.sd.unet import UNet as UNetModel
from backend.nn.blocks import Downsample, ResBlock, SpatialTransformer, Upsample
from comfy.ldm.modules.diffusionmodules.util import timestep_embedding

__all__ = ["Downsample", "ResBlock", "SpatialTransformer", "UNetModel", "Upsample", "apply_control", "timestep_embedding"]


def apply_control(h: Any, control: Any, name: str) -> Any:
    """h with the next residual of that place added."""
    if control is not None and control.get(name):
        residual = control[name].pop()
        if residual is not None:
            h = h + residual
    return h


class TimestepBlock:
    """A block that is told the time; residual blocks are."""


class TimestepEmbedSequential:
    """The numbered blocks of our nets are lists of layers."""

"""Depth and surface normals out of what models decode to."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from backend.base.errors import BadInput
from backend.engine.context import Context
from backend.graph.declare import Choice, node
from backend.imaging import depth as depths
from nodes.types import Image

depth_node = partial(node, category="image/depth", module="emulsion")


class Rgbd(NamedTuple):
    image: Image
    depth: Image


@depth_node("SplitRGBD", title="Split RGBD")
def split_rgbd(ctx: Context, *, image: Image) -> Rgbd:
    """Take apart what an LDM3D model decodes to: the picture, and how far things are (bright is near)."""
    try:
        return Rgbd(*depths.split(image))
    except ValueError as error:
        raise BadInput(
            f"This is no picture with depth: {error}.", hint="Decode with the VAE of an LDM3D model.", node=ctx.node, input="image"
        ) from error


@depth_node("MarigoldDecode", title="Marigold Estimate")
def marigold_decode(ctx: Context, *, image: Image, kind: str = Choice(["depth", "normals"])) -> Image:
    """Read a decoded Marigold latent as depth (grey) or as surface normals (vectors of length one)."""
    return depths.mean_depth(image) if kind == "depth" else depths.unit_normals(image)


@depth_node("MarigoldV2PostProcess", title="Marigold 2 Estimate")
def marigold_2_decode(ctx: Context, *, image: Image, prediction: str = Choice(["depth", "normals"])) -> Image:
    """Read a picture that Marigold 2 decoded as depth (grey, stretched from black to white) or as surface normals of length one.

    Published files connect what VAE Decode gives to `image`, and know the predictions "depth" and "normals".
    """
    if prediction == "normals":
        return depths.unit_normals(image)
    grey = depths.as_condition(image).movedim(1, -1) / 2 + 0.5
    return grey.expand(*grey.shape[:-1], 3)

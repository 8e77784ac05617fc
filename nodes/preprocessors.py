"""Pictures that steer: edges, lines, coarse colours. None of these needs a model file."""

from __future__ import annotations

from functools import partial

import torch

from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, node
from backend.imaging import edges
from nodes.types import Image

preprocessor = partial(node, category="image/preprocessors", module="nodes")


@node("Canny", category="image/preprocessors", module="comfy_extras.nodes_canny", form="v3")
def canny(
    ctx: Context,
    *,
    image: Image,
    low_threshold: float = Float(0.4, min=0.01, max=0.99, step=0.01),
    high_threshold: float = Float(0.8, min=0.01, max=0.99, step=0.01),
) -> Image:
    """White outlines on black. Edges above the high threshold are drawn, and what continues them above the low one."""
    return edges.as_images(edges.canny(image, low_threshold, max(low_threshold, high_threshold)))


@preprocessor("LineartXDoG", title="Lineart (XDoG)")
def lineart(
    ctx: Context,
    *,
    image: Image,
    line_width: float = Float(0.5, min=0.1, max=20.0, step=0.1),
    sharpness: float = Float(19.0, min=0.0, max=100.0, step=0.5),
    threshold: float = Float(0.01, min=-1.0, max=1.0, step=0.01),
    white_lines: bool = Bool(True, tooltip="White lines on black, as models expect; off: black on white."),
) -> Image:
    """A line drawing (extended difference of Gaussians)."""
    drawn = edges.xdog(image, line_width, sharpness=sharpness, threshold=threshold)
    return edges.as_images(1 - drawn if white_lines else drawn)


@preprocessor("Scribble")
def scribble(
    ctx: Context,
    *,
    image: Image,
    threshold: float = Float(0.35, min=0.01, max=2.0, step=0.01),
    thickness: int = Int(4, min=1, max=64, tooltip="In pixels."),
) -> Image:
    """Thick white strokes on black, as if drawn by hand, from the main edges of a picture."""
    found = edges.canny(edges.softened(image, 2.0), threshold / 2, threshold)
    half = thickness // 2
    return edges.as_images(torch.nn.functional.max_pool2d(found, 2 * half + 1, 1, half))


@preprocessor("TilePreprocessor", title="Tile (soften)")
def tile(ctx: Context, *, image: Image, strength: float = Float(2.0, min=1.0, max=32.0, step=0.1)) -> Image:
    """Take out the finest detail, for models that invent it anew."""
    return edges.softened(image, strength)


@preprocessor("ColorPreprocessor", title="Colour (coarse)")
def colour(ctx: Context, *, image: Image, cell_size: int = Int(64, min=2, max=1024)) -> Image:
    """Only the colours of a picture, in squares."""
    return edges.coarse(image, cell_size)


@preprocessor("SegmentationPalette", title="Segmentation Palette")
def segmentation_palette(ctx: Context, *, image: Image) -> Image:
    """Every pixel as the nearest colour of the segmentation classes, so that a map painted by hand has their exact colours."""
    palette = torch.tensor(list(edges.PALETTE.values()), dtype=image.dtype, device=image.device) / 255
    return edges.nearest_colours(image, palette)


@preprocessor("SegmentationColour", title="Segmentation Colour")
def segmentation_colour(
    ctx: Context,
    *,
    name: str = Choice(list(edges.PALETTE)),
    width: int = Int(512, min=1, max=16384),
    height: int = Int(512, min=1, max=16384),
) -> Image:
    """An area in the colour of a class, to compose a segmentation map of."""
    return (torch.tensor(edges.PALETTE[name]) / 255.0).expand(1, height, width, 3).clone()

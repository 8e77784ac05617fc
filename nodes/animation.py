"""Animations and drawings as files."""

from __future__ import annotations

import json
import re
from functools import partial

from backend.base.errors import BadInput
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Bool, Choice, Float, Int, SavePrefix, node
from backend.imaging.picture import to_pictures
from backend.storage.files import atomic, write_bytes
from backend.storage.images import write_webp
from nodes.image_files import METADATA, embedded, saved
from nodes.types import Image, Svg

animation = partial(node, category="image/animation", module="comfy_extras.nodes_images", output=True, hidden=METADATA)
EFFORT = {"default": 4, "fastest": 0, "slowest": 6}


@animation("SaveAnimatedWEBP")
def save_animated_webp(
    ctx: Context,
    *,
    images: Image,
    filename_prefix: str = SavePrefix("ComfyUI"),
    fps: float = Float(6.0, min=0.01, max=1000.0, step=0.01),
    lossless: bool = Bool(True),
    quality: int = Int(80, min=0, max=100),
    method: str = Choice(["default", "fastest", "slowest"]),
) -> None:
    """Save a batch as an animated WebP with the workflow inside."""
    place = next_save(filename_prefix, ctx.services.folders.directory("output"), images.shape[2], images.shape[1])
    path = place.folder / f"{place.name}_{place.counter:05}_.webp"
    milliseconds = int(1000.0 / fps)
    frames = to_pictures(images)
    write_webp(path, frames, embedded(ctx), duration_ms=milliseconds, lossless=lossless, quality=quality, method=EFFORT[method])
    ctx.show("images", [saved(path, place.subfolder, "output")])
    ctx.show("animated", [len(frames) > 1])


@animation("SaveAnimatedPNG")
def save_animated_png(
    ctx: Context,
    *,
    images: Image,
    filename_prefix: str = SavePrefix("ComfyUI"),
    fps: float = Float(6.0, min=0.01, max=1000.0, step=0.01),
    compress_level: int = Int(4, min=0, max=9),
) -> None:
    """Save a batch as an animated PNG with the workflow inside (chunks `comf` after the pixels)."""
    from PIL.PngImagePlugin import PngInfo

    place = next_save(filename_prefix, ctx.services.folders.directory("output"), images.shape[2], images.shape[1])
    path = place.folder / f"{place.name}_{place.counter:05}_.png"
    info = PngInfo()
    for key, text in embedded(ctx).items():
        info.add(b"comf", key.encode("latin-1", "strict") + b"\0" + text.encode("latin-1", "strict"), after_idat=True)
    first, *rest = to_pictures(images)
    with atomic(path) as file:
        first.save(file, "PNG", pnginfo=info, compress_level=compress_level, save_all=True, duration=int(1000.0 / fps), append_images=rest)
    ctx.show("images", [saved(path, place.subfolder, "output")])
    ctx.show("animated", [True])


@node("SaveSVGNode", category="image/save", module="comfy_extras.nodes_images", output=True, hidden=METADATA)
def save_svg(ctx: Context, *, svg: Svg, filename_prefix: str = SavePrefix("svg/ComfyUI")) -> None:
    """Save drawings as SVG files with the workflow in their metadata element."""
    drawings = getattr(svg, "data", None)
    if drawings is None:
        raise BadInput(f"The input `svg` is a {type(svg).__name__}, not a drawing.", node=ctx.node, input="svg")
    place = next_save(filename_prefix, ctx.services.folders.directory("output"))
    texts = {key: json.loads(text) for key, text in embedded(ctx).items()}
    for number, drawing in enumerate(drawings):
        path = place.folder / f"{place.name.replace('%batch_num%', str(number))}_{place.counter + number:05}_.svg"
        drawing.seek(0)
        write_bytes(path, with_metadata(drawing.read().decode("utf-8"), texts).encode("utf-8"))
        ctx.show("images", [saved(path, place.subfolder, "output")])


def with_metadata(svg: str, values: dict[str, object]) -> str:
    """The SVG text with a `<metadata>` element holding the values as JSON, right after the opening tag; unchanged without values."""
    if not values:
        return svg
    text = json.dumps(values, indent=2).replace("]]>", "]]]]><![CDATA[>")
    return re.sub(r"(<svg\b[^>]*>)", lambda m: f"{m[1]}\n<metadata><![CDATA[\n{text}\n]]></metadata>", svg, count=1)

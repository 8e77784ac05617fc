"""Saving pictures in other formats than 8-bit PNG."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from backend.base.errors import BadInput
from backend.base.paths import next_save
from backend.engine.context import Context
from backend.graph.declare import Combo, SavePrefix, node
from backend.imaging.picture import to_pictures
from backend.media import deep
from backend.storage.files import write_bytes
from backend.storage.images import exif_of, save_png
from nodes.image_files import METADATA, embedded, saved
from nodes.resize_any import ways
from nodes.types import Image


def _choice(options: list[str], default: str) -> list[Any]:
    return ["COMBO", {"default": default, "options": options, "multiselect": False}]


def _quality(default: int) -> list[Any]:
    return ["INT", {"default": default, "min": 1, "max": 100, "step": 1}]


MOST_EXIF = 65_000  # of a JPEG segment's 65,533 bytes
COLOURS = _choice(["sRGB", "linear"], "sRGB")
FORMATS: dict[str, dict[str, Any]] = {
    "png": {"bit_depth": _choice(["8-bit", "16-bit"], "8-bit"), "color_space": COLOURS},
    "webp": {"quality": _quality(90)},
    "webp (lossless)": {},
    "jpeg": {"quality": _quality(92)},
    "exr": {"bit_depth": _choice(["32-bit float"], "32-bit float"), "color_space": _choice(["sRGB", "linear"], "linear")},
}


@node(
    "SaveImageAdvanced", title="Save Image (Advanced)", category="image", module="comfy_extras.nodes_images", output=True, form="v3",
    outputs=("images",), hidden=METADATA,
)  # fmt: skip
def save_image_advanced(
    ctx: Context,
    *,
    images: Image,
    filename_prefix: str = SavePrefix("ComfyUI"),
    format: str = ways(FORMATS, "png"),
    metadata: str = Combo(
        ["as set", "full", "minimal", "none"],
        default="as set",
        optional=True,
        tooltip="What the file carries: prompt and workflow, the prompt alone, or nothing; as set: what the server was started with.",
    ),
    **options: Any,
) -> Image:
    """Save images as PNG (8 or 16 bits), WebP, JPEG or OpenEXR and hand them on. OpenEXR carries no workflow."""
    given = _given(ctx, format, options)
    texts = embedded(ctx, "" if metadata == "as set" else metadata)
    if format == "jpeg" and len(exif_of(texts).tobytes()) > MOST_EXIF:
        texts = {}
        ctx.log("The workflow is too long for a JPEG file (64 KiB) and is left out. Other formats carry it.")
    place = next_save(filename_prefix, ctx.services.folders.directory("output"), images.shape[2], images.shape[1], len(images))
    items = []
    for number, image in enumerate(images):
        ctx.check()
        ending = format.split()[0].replace("jpeg", "jpg")
        path = place.folder / f"{place.name.replace('%batch_num%', str(number))}_{place.counter + number:05}_.{ending}"
        with ctx.part("save", path.name):
            write_bytes(path, _encoded(image, format, given, texts))
        items.append(saved(path, place.subfolder, "output"))
    ctx.show("images", items)
    return images


def _given(ctx: Context, format: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a format. Raises BadInput for one that it does not have."""
    if format not in FORMATS:
        raise BadInput(f"`format` is {format!r:.40}.", hint=f"Choose one of {', '.join(FORMATS)}.", node=ctx.node, input="format")
    given = {}
    for name, (kind, about) in FORMATS[format].items():
        value = given[name] = options.get(f"format.{name}", about["default"])
        fits = value in about["options"] if kind == "COMBO" else value.__class__ is int and about["min"] <= value <= about["max"]
        if not fits:
            hint = f"Choose one of {', '.join(about['options'])}." if kind == "COMBO" else f"It goes from {about['min']} to {about['max']}."
            raise BadInput(f"`{name}` is {value!r:.40}.", hint=hint, node=ctx.node, input=f"format.{name}")
    return given


def _encoded(image: Tensor, format: str, given: Mapping[str, Any], texts: Mapping[str, str]) -> bytes:
    """One image [H, W, C] as a file."""
    if given.get("color_space") == "linear":
        image = deep.linear(image)
    if format == "exr":
        return deep.exr(image)
    if given.get("bit_depth") == "16-bit":
        return deep.png16(image, texts)
    out = io.BytesIO()
    if format == "png":
        (picture,) = to_pictures(image.unsqueeze(0))
        save_png(out, picture, texts)
    else:
        (picture,) = to_pictures((image[..., :3] if format == "jpeg" else image).unsqueeze(0))
        exif = {"exif": exif_of(texts)} if texts else {}
        name, lossless = ("JPEG", {}) if format == "jpeg" else ("WEBP", {"lossless": format != "webp"})
        picture.save(out, name, **lossless, **exif, **given)
    return out.getvalue()

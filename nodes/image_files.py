"""Pictures in and out: loading, saving, previews."""

from __future__ import annotations

import hashlib
import json
import secrets
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from backend.base.errors import Problem
from backend.base.paths import Save, next_save
from backend.engine.context import Context
from backend.graph.declare import Choice, Combo, SavePrefix, Wired, node
from backend.graph.schema import Files
from backend.imaging import picture
from backend.imaging.masks import batched
from backend.storage.images import write_png
from nodes.saving import aside, each
from nodes.types import Image, Mask

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

picture_node = partial(node, module="nodes")
T = TypeVar("T")
METADATA = ("PROMPT", "EXTRA_PNGINFO")  # run values that saving nodes embed
FAST = 1
"""The level of PNG compression: 4 takes 2.3 times as long for files that are an eighth smaller (`benchmarks/png.py`)."""
INPUT_PICTURES = Files("input", content=("image",))


class ImageAndMask(NamedTuple):
    IMAGE: Image
    MASK: Mask


def embedded(ctx: Context, amount: str = "") -> dict[str, str]:
    """What is written into a file so that it can be opened as a workflow again: ASCII JSON by name.

    `amount` "full" is the prompt, what the editor sent along and the manifest of the run, "minimal" the prompt, "none" nothing; "" is what
    the settings say.
    """
    amount = amount or ctx.services.settings.metadata
    texts = {"prompt": json.dumps(ctx.prompt)} if ctx.prompt and amount != "none" else {}
    if amount == "full":
        texts |= {key: json.dumps(value) for key, value in ctx.extra.items()}
        manifest = getattr(ctx.services, "manifest", None)
        if manifest is not None and ctx.prompt:
            texts["manifest"] = json.dumps(manifest.of(ctx.prompt, ctx.services.folders))
    return texts


def saved(path: Path, subfolder: str, type: str) -> dict[str, Any]:
    """How a produced file is named to clients."""
    return {"filename": path.name, "subfolder": subfolder, "type": type}


def save_pictures(ctx: Context, images: Image, prefix: str, type: str, compress_level: int) -> list[dict[str, Any]]:
    """Write a batch as numbered PNG files into the output or temp directory. Raises Refused for a prefix that leads out of it."""
    if images.ndim == 3:
        images = images.unsqueeze(0)
    place = next_save(prefix, ctx.services.folders.directory(type), images.shape[2], images.shape[1], len(images))
    return _write(ctx, images, place, type, compress_level)


def _write(ctx: Context, images: Image, place: Save, type: str, compress_level: int) -> list[dict[str, Any]]:
    if images.ndim == 3:
        images = images.unsqueeze(0)
    if not bool(images.isfinite().all()):
        ctx.log("The image holds values that are no numbers (NaN); they are saved as black. Try a VAE or model in float32.")
    texts = embedded(ctx)

    def write(numbered: tuple[int, PilImage]) -> dict[str, Any]:
        number, image = numbered
        ctx.check()
        path = place.folder / f"{place.name.replace('%batch_num%', str(number))}_{place.counter + number:05}_.png"
        with ctx.part("save", path.name):
            write_png(path, image, texts, compress_level)
        return saved(path, place.subfolder, type)

    return list(each(write, enumerate(picture.to_pictures(images))))


def save_preview(ctx: Context, images: Image) -> list[dict[str, Any]]:
    """Write a batch into the temp directory under a name of its own, without a look at the many that may lie there."""
    folder = ctx.services.folders.directory("temp")
    while True:
        name = "ComfyUI_temp_" + "".join(secrets.choice(string.ascii_lowercase) for _ in range(5))
        if not (folder / f"{name}_00001_.png").exists():
            return _write(ctx, images, Save(folder, name, 1, "", name), "temp", FAST)


@picture_node("SaveImage", title="Save Image", category="image", output=True, hidden=METADATA, outputs=("images",))
async def save_image(
    ctx: Context,
    *,
    images: Image = Wired(tooltip="The images to save."),
    filename_prefix: str = SavePrefix(
        "ComfyUI", tooltip="Name of the file, with subfolders; may contain %date:yyyy-MM-dd% or %KSampler.seed%."
    ),
) -> Image:
    """Save images as PNG in the output directory, with the workflow inside, and hand them on."""
    ctx.show("images", await aside(save_pictures, ctx, images, filename_prefix, "output", FAST))
    return images


@picture_node("PreviewImage", title="Preview Image", category="image", output=True, hidden=METADATA, outputs=("images",))
async def preview_image(ctx: Context, *, images: Image) -> Image:
    """Show images without keeping them, and hand them on."""
    ctx.show("images", await aside(save_preview, ctx, images))
    return images


@node("MaskPreview", category="mask", module="comfy_extras.nodes_mask", output=True, hidden=METADATA, outputs=("mask",))
def mask_preview(ctx: Context, *, mask: Mask) -> Mask:
    """Show a mask as a grey image without keeping it, and hand it on."""
    ctx.show("images", save_preview(ctx, batched(mask).unsqueeze(-1).expand(-1, -1, -1, 3)))
    return mask


def content_of(type: str, input: str = "image") -> Any:
    """A fingerprint function: the digest of the file an input names, so that a changed file runs the node again."""

    def fingerprint(ctx: Context, **constants: Any) -> str | None:
        name = constants.get(input)
        if not isinstance(name, str):
            return None
        with open(ctx.services.folders.resolve(name, type), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    return fingerprint


def _read(ctx: Context, name: str, type: str, read: Callable[[Path], T]) -> T:
    try:
        return read(ctx.services.folders.resolve(name, type))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="image", file=name) from problem.__cause__


@picture_node("LoadImage", title="Load Image", category="image", fingerprint=content_of("input"))
def load_image(ctx: Context, *, image: str = Choice(INPUT_PICTURES, image_upload=True)) -> ImageAndMask:
    """Load a picture of the input directory. The mask is 1 where it is transparent; an animation becomes a batch."""
    return ImageAndMask(*_read(ctx, image, "input", picture.read_picture))


@picture_node("LoadImageMask", title="Load Image (as Mask)", category="mask", fingerprint=content_of("input"))
def load_image_mask(
    ctx: Context,
    *,
    image: str = Choice(INPUT_PICTURES, image_upload=True),
    channel: str = Choice(["alpha", "red", "green", "blue"]),
) -> Mask:
    """Load one channel of a picture as a mask; the alpha channel is inverted (1 = transparent)."""
    return _read(ctx, image, "input", lambda path: picture.read_channel(path, channel))


@picture_node("LoadImageOutput", title="Load Image (from Outputs)", category="image", experimental=True, fingerprint=content_of("output"))
def load_image_output(
    ctx: Context,
    *,
    image: str = Combo(
        None,
        multiselect=None,
        image_upload=True,
        image_folder="output",
        remote={"route": "/internal/files/output", "refresh_button": True, "control_after_refresh": "first"},
    ),
) -> ImageAndMask:
    """Load a picture that an earlier run saved."""
    return ImageAndMask(*_read(ctx, image, "output", picture.read_picture))

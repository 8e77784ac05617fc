"""Pictures on disk: PNG and WebP with the graph inside, header-only size checks, small copies for previews.

Pillow is imported when the first picture is touched, so that a front that serves none stays small.
"""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from backend.base.errors import BadFile, BadInput
from backend.storage.files import atomic

if TYPE_CHECKING:
    from PIL import Image

MOST_PIXELS = 100_000_000
BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, ArithmeticError, TypeError, struct.error)
"""What Pillow raises for damaged content: its readers let through whatever their parsing meets (seen by changing files at random)."""
_LONGEST = {"webp": 16383, "jpeg": 65500}
"""Pixels a side can have in these formats."""
_EXIF_MODEL = 0x0110
_EXIF_MAKE = 0x010F


class TooLarge(BadInput):
    """More pixels than this program decodes."""


def write_png(path: Path, image: Image.Image, texts: Mapping[str, str] | None = None, compress_level: int = 4) -> None:
    """Write a PNG atomically; `texts` become tEXt chunks (values must be ASCII, as `json.dumps` gives).

    Raises NoSpace or BadFile; nothing half-written stays.
    """
    with atomic(path) as file:
        save_png(file, image, texts, compress_level)


def save_png(file: BinaryIO, image: Image.Image, texts: Mapping[str, str] | None = None, compress_level: int = 4) -> None:
    """Encode a PNG with tEXt chunks into an open file."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in (texts or {}).items():
        info.add_text(key, value)
    image.save(file, "PNG", pnginfo=info, compress_level=compress_level)


def write_webp(
    path: Path,
    frames: Sequence[Image.Image],
    texts: Mapping[str, str] | None = None,
    *,
    duration_ms: int = 0,
    lossless: bool = True,
    quality: int = 80,
    method: int = 4,
) -> None:
    """Write a still or animated WebP atomically; `texts` go to EXIF (see `exif_of`)."""
    options: dict[str, Any] = {"lossless": lossless, "quality": quality, "method": method}
    if texts:
        options["exif"] = exif_of(texts)
    if len(frames) > 1:
        options |= {"save_all": True, "append_images": list(frames[1:]), "duration": duration_ms}
    with atomic(path) as file:
        frames[0].save(file, "WEBP", **options)


def exif_of(texts: Mapping[str, str]) -> Image.Exif:
    """EXIF with ASCII tags `key:value`: `prompt` in Model (0x0110), the others from Make (0x010F) downwards."""
    from PIL import Image

    exif = Image.Exif()
    tag = _EXIF_MAKE
    for key, value in texts.items():
        if key == "prompt":
            exif[_EXIF_MODEL] = f"{key}:{value}"
        else:
            exif[tag] = f"{key}:{value}"
            tag -= 1
    return exif


def read_texts(path: Path) -> dict[str, str]:
    """The texts a PNG, or a WebP written by `write_webp`, carries. Raises BadFile when it is no picture."""
    with open_image(path) as image:
        try:
            if image.format == "WEBP":
                values = [str(v) for tag, v in image.getexif().items() if tag <= _EXIF_MODEL and isinstance(v, str) and ":" in v]
                return {v.split(":", 1)[0]: v.split(":", 1)[1] for v in values}
            return {str(k): v for k, v in getattr(image, "text", {}).items()}  # PNG has texts behind the pixels too
        except BROKEN as error:
            raise _damaged(path.name) from error


def open_image(path: Path, most_pixels: int = MOST_PIXELS) -> Image.Image:
    """Open a picture and look at its header only; the pixels are decoded on first use.

    Raises TooLarge before anything is decoded, BadFile when the content is no picture.
    """
    return _open(path, path.name, most_pixels)


def _open(source: Path | BinaryIO, name: str, most_pixels: int) -> Image.Image:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the check below is ours
            image = Image.open(source)
    except Image.DecompressionBombError as error:
        limit = f"The limit is {most_pixels:,} pixels; use a smaller picture."
        counted = re.search(r"\((\d+) pixels\)", str(error))
        raise TooLarge(f"{name} has {f'{int(counted[1]):,}' if counted else 'too many'} pixels.", hint=limit) from error
    except BROKEN as error:
        raise BadFile(f"{name} is not a picture this program can read.", hint="Use PNG, JPEG, WebP, GIF, BMP or TIFF.") from error
    width, height = image.size
    if width * height > most_pixels:
        image.close()
        raise TooLarge(
            f"{name} has {width} x {height} = {width * height:,} pixels.", hint=f"The limit is {most_pixels:,}; use a smaller picture."
        )
    return image


def reencode(path: Path, format: str, quality: int) -> bytes:
    """A lossy copy for previews. `format` is `webp` or `jpeg`, `quality` 1..100."""
    return _lossy(path, path.name, format, quality)


def reencode_bytes(data: bytes, format: str, quality: int) -> bytes:
    """Like `reencode`, of a picture in memory."""
    return _lossy(io.BytesIO(data), "The embedded picture", format, quality)


def _lossy(source: Path | BinaryIO, name: str, format: str, quality: int) -> bytes:
    with _open(source, name, MOST_PIXELS) as image:
        decoded = _decode(image, name)
        flat = decoded.convert("RGB") if format == "jpeg" else decoded.convert("RGBA" if "A" in decoded.getbands() else "RGB")
        if max(flat.size) > _LONGEST[format]:
            flat.thumbnail((_LONGEST[format],) * 2)
        out = io.BytesIO()
        flat.save(out, format.upper(), quality=quality)
    return out.getvalue()


def channels(path: Path, channel: str) -> bytes:
    """PNG of the colours without alpha (`rgb`), or of the alpha alone (`a`: black RGBA that carries it)."""
    from PIL import Image

    with open_image(path) as image:
        decoded = _decode(image, path.name)
        if channel == "rgb":
            result = decoded.convert("RGB")
        else:
            alpha = decoded.getchannel("A") if "A" in decoded.getbands() else Image.new("L", decoded.size, 255)
            result = Image.new("RGBA", decoded.size)
            result.putalpha(alpha)
        out = io.BytesIO()
        result.save(out, "PNG", compress_level=1)
    return out.getvalue()


def with_alpha_of(original: Path, mask: bytes, name: str) -> tuple[Image.Image, dict[str, str]]:
    """The original's colours with the alpha of an uploaded picture, and the original's texts."""
    from PIL import Image

    texts = read_texts(original) if original.suffix.lower() == ".png" else {}
    with open_image(original) as image:
        base = _decode(image, original.name).convert("RGBA")
    try:
        with Image.open(io.BytesIO(mask)) as drawn:
            if drawn.size[0] * drawn.size[1] > MOST_PIXELS:
                raise TooLarge(f"The mask {name} has too many pixels.", hint=f"The limit is {MOST_PIXELS:,}.")
            alpha = drawn.convert("RGBA").getchannel("A")
    except (Image.DecompressionBombError, *BROKEN) as error:
        raise BadInput(f"The mask {name} is not a picture.", hint="Upload a PNG with an alpha channel.") from error
    if alpha.size != base.size:
        alpha = alpha.resize(base.size)
    base.putalpha(alpha)
    return base, texts


def _decode(image: Image.Image, name: str) -> Image.Image:
    try:
        image.load()
    except BROKEN as error:
        raise _damaged(name) from error
    return image


def _damaged(name: str) -> BadFile:
    return BadFile(f"{name} is damaged: its pixels cannot be read.", hint="Save or copy the file again.")


_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF8", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (0, b"BM", "image/bmp"),
    (4, b"ftypavif", "image/avif"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (8, b"WAVE", "audio/wav"),
)


def sniff(path: Path) -> str | None:
    """The media type by content, for the types that a browser may show inline; None for everything else."""
    with open(path, "rb") as file:
        head = file.read(32)
    for offset, magic, kind in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return kind
    return None

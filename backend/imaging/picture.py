"""Between picture files and tensors. Pillow decodes; sizes are checked from the header before any pixel is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.storage.images import BROKEN, MOST_PIXELS, TooLarge, open_image

if TYPE_CHECKING:
    from PIL import Image

MOST_FRAMES = 10_000
_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # grey with 16 bits
_ONE_FRAME = ("MPO",)  # further frames are other views or thumbnails, not an animation
NO_MASK = (1, 64, 64)  # shape of the empty mask that stands for "has no alpha"


def read_picture(path: Path, most_pixels: int = MOST_PIXELS) -> tuple[Tensor, Tensor]:
    """A picture as image `[B, H, W, 3]` and mask `[B, H, W]` (1 - alpha; zeros `[1, 64, 64]` when no frame has alpha).

    B counts the frames of an animation; frames of another size than the first are left out. The EXIF orientation is applied; grey with
    16 bits keeps its precision. Raises BadFile (not a picture, damaged) and TooLarge (more than `most_pixels`, all frames together four
    times that, or more than `MOST_FRAMES`) before decoding.
    """
    images: list[Tensor] = []
    masks: list[Tensor | None] = []
    for frame in _frames(path, most_pixels):
        rgb, alpha = _rgb(frame), _alpha(frame)
        if images and rgb.shape != images[0].shape:
            continue
        images.append(rgb)
        masks.append(None if alpha is None else 1 - alpha)
    if all(m is None for m in masks):
        return torch.stack(images), torch.zeros(NO_MASK)
    blank = torch.zeros(images[0].shape[:2])
    return torch.stack(images), torch.stack([blank if m is None else m for m in masks])


def read_channel(path: Path, channel: str, most_pixels: int = MOST_PIXELS) -> Tensor:
    """One channel of the first frame as a mask `[1, H, W]`: red, green, blue, or alpha (inverted, as in `read_picture`).

    Raises as `read_picture`.
    """
    frame = _frames(path, most_pixels)[0]
    if channel != "alpha":
        return _rgb(frame)[..., ("red", "green", "blue").index(channel)].unsqueeze(0)
    alpha = _alpha(frame)
    return torch.zeros(NO_MASK) if alpha is None else (1 - alpha).unsqueeze(0)


def to_pictures(images: Tensor) -> list[Image.Image]:
    """Each image of `[B, H, W, C]` in 8 bits (rounded, cut to 0..1; NaN is black): C 1 grey, 3 RGB, 4 RGBA. Else BadInput."""
    from PIL import Image

    if images.ndim != 4 or images.shape[-1] not in (1, 3, 4):
        raise BadInput(
            f"An image of shape {list(images.shape)} cannot be made a picture.", hint="It needs [count, height, width, 1, 3 or 4 channels]."
        )
    values = (torch.nan_to_num(images.detach().float()).clamp(0, 1) * 255).round().byte().cpu()
    if values.shape[-1] == 1:
        values = values.squeeze(-1)
    return [Image.fromarray(v.numpy()) for v in values]


def _frames(path: Path, most_pixels: int) -> list[Image.Image]:
    """Decoded frames, upright."""
    from PIL import Image, ImageOps, ImageSequence

    with open_image(path, most_pixels) as picture:
        try:
            count = 1 if picture.format in _ONE_FRAME else int(getattr(picture, "n_frames", 1))
            total = count * picture.width * picture.height
            if total > 4 * most_pixels or count > MOST_FRAMES:
                raise TooLarge(
                    f"{path.name} has {count:,} frames of {picture.width} x {picture.height} pixels.",
                    hint=f"The limit is {MOST_FRAMES:,} frames and {4 * most_pixels:,} pixels together; use a shorter one.",
                )
            found = []
            for frame in ImageSequence.Iterator(picture):
                found.append(ImageOps.exif_transpose(frame.copy()))
                if len(found) == count:
                    break
            return found
        except (Image.DecompressionBombError, *BROKEN) as error:
            raise BadFile(f"{path.name} is damaged: its pixels cannot be read.", hint="Save or copy the file again.", file=path) from error


def _array(picture: Image.Image) -> Tensor:
    import numpy as np

    return torch.from_numpy(np.array(picture, dtype=np.float32))


def _rgb(frame: Image.Image) -> Tensor:
    """`[H, W, 3]` in 0..1."""
    if frame.mode in _DEEP:
        return (_array(frame) / 65535).clamp(0, 1).unsqueeze(-1).expand(-1, -1, 3)
    if frame.mode == "F":
        return _array(frame).clamp(0, 1).unsqueeze(-1).expand(-1, -1, 3)
    if frame.mode == "P" and "transparency" in frame.info:
        frame = frame.convert("RGBA")
    return _array(frame.convert("RGB")) / 255


def _alpha(frame: Image.Image) -> Tensor | None:
    """`[H, W]` in 0..1, or None."""
    if ("transparency" in frame.info and frame.mode in ("P", "L", "RGB")) or frame.mode in ("PA", "La", "RGBa"):
        frame = frame.convert("RGBA")
    if "A" not in frame.getbands():
        return None
    return _array(frame.getchannel("A")) / 255

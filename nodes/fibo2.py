"""Fibo 2: captions in JSON, and pictures to edit."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.encoders.lm.handle import LmHandle
from backend.engine.context import Context
from backend.families.fibo2 import CELL, CHANNELS
from backend.families.fibo2.caption import NOTHING, size_for, to_edit, to_make
from backend.graph.declare import Int, Text, Wired, node
from backend.imaging.resize import resize
from nodes.conditioning import with_values
from nodes.logic import growing, grown
from nodes.types import MAX_SIDE, Clip, Conditioning, Latent, Vae

MOST = 5
"""Pictures that it was trained to edit together."""
SEEN = 768
"""Pixels of the longer side of a picture as the text encoder sees it."""


class Told(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


@node("TextEncodeFibo2", title="Text Encode Fibo 2", category="advanced/conditioning/fibo2", module="nodes", form="v3")
def text_encode_fibo2(
    ctx: Context,
    *,
    clip: Clip,
    images: None = growing("IMAGE", names=[f"image_{i}" for i in range(1, MOST + 1)], least=0),
    vae: Vae | None = Wired(tooltip="Flux 2's VAE; needed where pictures are edited."),
    prompt: str = Text(multiline=True, dynamicPrompts=True, tooltip="A caption in JSON, a description, or what to edit."),
    negative_prompt: str = Text(NOTHING, multiline=True, dynamicPrompts=True),
    width: int = Int(0, min=0, max=MAX_SIDE, step=16, tooltip="0: as the first picture is shaped, or 1024."),
    height: int = Int(0, min=0, max=MAX_SIDE, step=16, tooltip="0: as the first picture is shaped, or 1024."),
    batch_size: int = Int(1, min=1, max=4096),
    **inputs: Any,
) -> Told:
    """Turn a caption, or an instruction for up to five pictures, into conditioning for Fibo 2, with an empty latent of the right size."""
    if not isinstance(clip, LmHandle):
        raise BadInput("This text encoder does not write or see.", hint="Load Qwen 3 VL 4B with type fibo2.", node=ctx.node, input="clip")
    pictures = list(grown("images", inputs).values())
    if pictures and vae is None:
        raise BadInput("Pictures to edit need a VAE.", hint="Connect Flux 2's VAE.", node=ctx.node, input="vae")
    if len(pictures) > MOST:
        raise BadInput(f"There are {len(pictures)} pictures; Fibo 2 edits up to {MOST} together.", node=ctx.node, input="images")
    pool = ctx.services.pool
    wide, tall = _size(width, height, pictures)
    sizes = [(wide, tall)] if len(pictures) == 1 else [size_for(picture.shape[2] / picture.shape[1]) for picture in pictures]
    cut = [_cut(picture, *size) for picture, size in zip(pictures, sizes, strict=True)]
    text = to_edit(prompt, len(cut)) if cut else to_make(prompt)
    positive = clip.encoded(clip.tokenize(text, images=[_seen(picture)[0] for picture in cut]), pool).conditioning()
    negative = clip.conditioning(negative_prompt, pool)
    if vae is not None and cut:
        shown = [vae.encode(picture, pool, check=ctx.check) for picture in cut]
        positive, negative = (with_values(cond, reference_latents=shown) for cond in (positive, negative))
    return Told(positive, negative, {"samples": torch.zeros(batch_size, CHANNELS, tall // CELL, wide // CELL)})


def _size(width: int, height: int, pictures: list[Tensor]) -> tuple[int, int]:
    """(width, height) in whole cells of the latent."""
    if width and height:
        return max(1, width // CELL) * CELL, max(1, height // CELL) * CELL
    wide, tall = size_for(pictures[0].shape[2] / pictures[0].shape[1]) if pictures else (1024, 1024)
    return width // CELL * CELL or wide, height // CELL * CELL or tall


def _cut(picture: Tensor, width: int, height: int) -> Tensor:
    """The first of a batch [B, H, W, C], scaled to cover the size and cut at the edges [1, height, width, 3]."""
    planes = picture[:1, ..., :3].movedim(-1, 1)
    scale = max(height / planes.shape[2], width / planes.shape[3])
    tall, wide = math.ceil(planes.shape[2] * scale), math.ceil(planes.shape[3] * scale)
    covered = resize(planes, wide, tall, "lanczos", "disabled")
    top, left = (tall - height) // 2, (wide - width) // 2
    return covered[:, :, top : top + height, left : left + width].movedim(1, -1)


def _seen(picture: Tensor) -> Tensor:
    """[1, H, W, 3] no larger than the text encoder saw pictures in training."""
    height, width = picture.shape[1:3]
    scale = SEEN / max(height, width)
    if scale >= 1:
        return picture
    return resize(picture.movedim(-1, 1), max(1, round(width * scale)), max(1, round(height * scale)), "bicubic", "disabled").movedim(1, -1)

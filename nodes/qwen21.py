"""Nodes of Qwen Image 2.1."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from backend.base.errors import BadInput, Problem
from backend.encoders.lm.handle import LmHandle
from backend.engine.context import Context
from backend.families.qwen_image21 import CACHE
from backend.families.qwen_image21.cache import PrefixCache
from backend.families.qwen_image21.net import Qwen21Sizes
from backend.families.qwen_image21.texts import NOTHING
from backend.graph.declare import Combo, Int, Text, node
from backend.imaging.resize import resize
from nodes.logic import growing, grown
from nodes.types import Clip, Conditioning, Latent, Model, Vae

qwen = partial(node, module="comfy_extras.nodes_qwen", form="v3")
GRID = 32
"""Pixels a side of what becomes one token to the text encoder, and four cells of a latent."""
CELL = 16
STORED = {"default": None, "bf16": torch.bfloat16, "fp8_e4m3fn": torch.float8_e4m3fn}


class Told(NamedTuple):
    positive: Conditioning
    negative: Conditioning
    latent: Latent


def fitted(image: Tensor, resolution: int) -> Tensor:
    """The first picture of [B, H, W, C] with about `resolution` squared pixels, as it was shaped, in whole steps of the grid."""
    height, width = image.shape[1:3]
    by = resolution / math.sqrt(height * width)
    tall, wide = (max(GRID, round(side * by / GRID) * GRID) for side in (height, width))
    return resize(image[:1].movedim(-1, 1), wide, tall, "lanczos", "disabled").movedim(1, -1)


def on_white(image: Tensor) -> Tensor:
    """[B, H, W, 3 or 4] -> [B, H, W, 3], what is transparent in white."""
    return image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) if image.shape[-1] == 4 else image


def starts(entries: list[Any], sizes: list[int], dropped: int) -> list[int]:
    """Where in what is heard the tokens of each picture begin; `sizes` is how many each becomes."""
    found, at, left = [], 0, iter(sizes)
    for entry in entries:
        if isinstance(entry[0], dict):
            found.append(at - dropped)
            at += next(left)
        else:
            at += 1
    return found


def heard(clip: LmHandle, prompt: str, images: list[Tensor], latents: list[Tensor], ctx: Context) -> list[Any]:
    """A prompt with pictures as conditioning."""
    marks = " ".join(f"<image{number}>{clip.make.image}" for number in range(1, len(images) + 1))
    tokens = clip.tokenize(marks + (prompt or NOTHING), images=[on_white(image)[0] for image in images])
    made = clip.encoded(tokens, ctx.services.pool).conditioning()
    if not images:
        return made
    entries = [entry for chunk in tokens[clip.branch] for entry in chunk]
    dropped = clip.reading.dropped([entry[0] if isinstance(entry[0], int) else -1 for entry in entries])
    sizes = [image.shape[1] * image.shape[2] // GRID**2 for image in images]
    more = {"reference_latents": latents, "picture_tokens": starts(entries, sizes, dropped)}
    return [[tensor, {**extra, **more}] for tensor, extra in made]


@qwen("TextEncodeQwenImage21", title="Text Encode Qwen Image 2.1", category="advanced/conditioning")
def text_encode_qwen_image_21(
    ctx: Context,
    *,
    clip: Clip,
    prompt: str = Text(multiline=True, dynamicPrompts=True),
    negative_prompt: str = Text(multiline=True, dynamicPrompts=True),
    resolution: int = Int(1024, min=256, max=4096, step=32, tooltip="Side of a square with as many pixels as the pictures are given."),
    vae: Vae | None = None,
    images: None = growing("IMAGE", names=[f"image_{number}" for number in range(1, 9)], least=0),
    **more: Any,
) -> Told:
    """Say what to paint, from nothing or from pictures, which text encoder and model look at. `latent` is as large as the last picture."""
    given = [fitted(image, resolution) for image in grown("images", more).values()]
    if not isinstance(clip, LmHandle):
        raise BadInput(
            "This text encoder cannot read a prompt with pictures.",
            hint="Load Qwen3-VL 8B with Load CLIP, type qwen_image.",
            node=ctx.node,
            input="clip",
        )
    if given and vae is None:
        raise BadInput("The model looks at the pictures as latents.", hint="Connect its VAE.", node=ctx.node, input="vae")
    latents = [vae.encode(image, ctx.services.pool) for image in given] if vae is not None else []
    try:
        positive, negative = (heard(clip, text, given, latents, ctx) for text in (prompt, negative_prompt))
    except Problem as problem:
        raise problem.at(node=ctx.node, input="clip") from problem.__cause__
    height, width = given[-1].shape[1:3] if given else (resolution, resolution)
    return Told(positive, negative, {"samples": torch.zeros(1, 64, height // CELL, width // CELL)})


@qwen("QwenImage21Cache", title="Qwen Image 2.1 Cache", category="advanced/model")
def qwen_image_21_cache(ctx: Context, *, model: Model, device: str = Combo(["auto", "cpu"]), dtype: str = Combo(list(STORED))) -> Model:
    """Keep what a model makes of the prompt and the pictures it looks at: that is the same at every step."""
    if not isinstance(model.sizes, Qwen21Sizes):
        raise BadInput(f"The model is {model.family.name}; only Qwen Image 2.1 has such a part.", node=ctx.node, input="model")
    return model.with_tap(CACHE, PrefixCache("cpu" if device == "cpu" else "", STORED[dtype]))

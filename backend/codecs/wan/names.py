"""How diffusers names the parts of the causal autoencoder, and how the published single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.weights.detect import count

LAYERS = {"norm1": "residual.0", "conv1": "residual.2", "norm2": "residual.3", "conv2": "residual.6", "conv_shortcut": "shortcut"}
ENDS = {"conv_in": "conv1", "norm_out": "head.0", "conv_out": "head.2"}
WHOLE = {"quant_conv": "conv1", "post_quant_conv": "conv2"}
_DOWN = re.compile(r"encoder\.down_blocks\.(\d+)\.(.+)\.(weight|bias|gamma)")
_UP = re.compile(r"decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.+)\.(weight|bias|gamma)")
_MID = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)\.(weight|bias|gamma)")
_LEVEL = re.compile(r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(?:resnets\.(\d+)|(?:down|up)sampler)\.(.+)\.(weight|bias|gamma)")
_END = re.compile(r"(encoder|decoder)\.(conv_in|norm_out|conv_out)\.(weight|bias|gamma)")


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name, for every known key; unknown keys are left out."""
    keys = list(keys)
    blocks = count(keys, "decoder.up_blocks.0.resnets")
    return {name: key for key in keys if (name := _single(key, blocks)) is not None}


def _single(key: str, blocks: int) -> str | None:
    """`blocks` is how many residual blocks a level of the way up has; there the single file counts through all levels."""
    if match := _DOWN.fullmatch(key):
        return f"encoder.downsamples.{match[1]}.{LAYERS.get(match[2], match[2])}.{match[3]}"
    if match := _UP.fullmatch(key):
        level, kind, number, layer, leaf = match.groups()
        at = int(level) * (blocks + 1) + (int(number) if kind == "resnets" else blocks)
        return f"decoder.upsamples.{at}.{LAYERS.get(layer, layer)}.{leaf}"
    if match := _MID.fullmatch(key):
        side, kind, number, layer, leaf = match.groups()
        at = 1 if kind == "attentions" else int(number) * 2
        return f"{side}.middle.{at}.{LAYERS.get(layer, layer)}.{leaf}"
    if match := _END.fullmatch(key):
        return f"{match[1]}.{ENDS[match[2]]}.{match[3]}"
    part, _, leaf = key.rpartition(".")
    return f"{WHOLE[part]}.{leaf}" if part in WHOLE else None


def levels_from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name, of autoencoders whose levels are numbered in both."""
    keys = list(keys)
    blocks = {side: count(keys, f"{side}_blocks.0.resnets") for side in ("encoder.down", "decoder.up")}
    return {name: key for key in keys if (name := _level(key, blocks)) is not None}


def _level(key: str, blocks: dict[str, int]) -> str | None:
    if match := _LEVEL.fullmatch(key):
        side, level, block, layer, leaf = match.groups()
        return f"{side}samples.{level}.{side.split('.')[1]}samples.{block or blocks[side]}.{LAYERS.get(layer, layer)}.{leaf}"
    if match := _MID.fullmatch(key):
        side, kind, number, layer, leaf = match.groups()
        return f"{side}.middle.{1 if kind == 'attentions' else int(number) * 2}.{LAYERS.get(layer, layer)}.{leaf}"
    part, _, leaf = key.rpartition(".")
    side, _, end = part.partition(".")
    if end in ENDS:
        return f"{side}.{ENDS[end]}.{leaf}"
    return f"{WHOLE[part]}.{leaf}" if part in WHOLE else None

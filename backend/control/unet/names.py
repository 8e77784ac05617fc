"""How diffusers names the parts of a ControlNet, and how the published single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from backend.families.sd.names import from_diffusers as unet_from_diffusers

MARK = "controlnet_cond_embedding.conv_in.weight"
OTHER = "control_to_base_for_conv_in.weight"
"""Only in ControlNet-XS, which has the mark as well."""
UNION = ("control_add_embedding.", "task_embedding", "transformer_layes.", "spatial_ch_projs.")
"""Parts of union nets, which have one name everywhere."""
PREFIXES = ("", "control_model.")


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name for every known key."""
    keys = list(keys)
    return {**unet_from_diffusers(keys), **dict(_own(keys))}


def _own(keys: list[str]) -> Iterator[tuple[str, str]]:
    hint = 1 + max((int(m[1]) for key in keys if (m := re.match(r"controlnet_cond_embedding\.blocks\.(\d+)\.", key))), default=-1)
    numbers = {"conv_in": 0, "conv_out": 2 * (hint + 1), **{f"blocks.{i}": 2 * (i + 1) for i in range(hint)}}
    for key in keys:
        part, _, leaf = key.rpartition(".")
        if part.startswith("controlnet_cond_embedding."):
            yield f"input_hint_block.{numbers[part.partition('.')[2]]}.{leaf}", key
        elif part.startswith("controlnet_down_blocks."):
            yield f"zero_convs.{part.rpartition('.')[2]}.0.{leaf}", key
        elif part == "controlnet_mid_block":
            yield f"middle_block_out.0.{leaf}", key
        elif key.startswith(UNION):
            yield key, key

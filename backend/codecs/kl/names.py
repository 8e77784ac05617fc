"""How diffusers names the parts of the KL autoencoder, and how the published single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.weights.keymap import Part

_RES = {"conv_shortcut": "nin_shortcut"}
_ATTENTION = {
    "group_norm": "norm",
    **dict.fromkeys(("to_q", "query"), "q"),
    **dict.fromkeys(("to_k", "key"), "k"),
    **dict.fromkeys(("to_v", "value"), "v"),
    **dict.fromkeys(("to_out.0", "proj_attn"), "proj_out"),
}
_PLAIN = re.compile(r"(encoder|decoder)\.(conv_in|conv_out)\.(weight|bias)|(quant_conv|post_quant_conv)\.(weight|bias)"
                    r"|decoder\.condition_encoder\.layers\.\d+\.(weight|bias)")  # fmt: skip
_BLOCK = re.compile(r"(encoder\.down|decoder\.up)_blocks\.(\d+)\.(resnets\.(\d+)|(?:down|up)samplers\.0)\.(\w+)\.(weight|bias)")
_MID = re.compile(r"(encoder|decoder)\.mid_block\.(resnets|attentions)\.(\d+)\.([\w.]+)\.(weight|bias)")


def from_diffusers(keys: Iterable[str]) -> dict[str, Part]:
    """Single-file name -> part of the diffusers file, for every known key; unknown keys are left out.

    Attention projections are linear layers there and 1x1 convolutions here.
    """
    keys = list(keys)
    levels = 1 + max((int(m[2]) for key in keys if (m := _BLOCK.match(key)) and m[1] == "decoder.up"), default=-1)
    names = ((key, _single(key, levels)) for key in keys)
    return {name: Part(key, ones=2 if _is_projection(name) else 0) for key, name in names if name is not None}


def _is_projection(name: str) -> bool:
    return re.search(r"\.attn_1\.(q|k|v|proj_out)\.weight$", name) is not None


def _single(key: str, levels: int) -> str | None:
    if _PLAIN.fullmatch(key):
        return key
    if match := re.fullmatch(r"(encoder|decoder)\.conv_norm_out\.(weight|bias)", key):
        return f"{match[1]}.norm_out.{match[2]}"
    if match := _BLOCK.fullmatch(key):
        side, level, what, block, layer, leaf = match.groups()
        number = int(level) if side == "encoder.down" else levels - 1 - int(level)  # the single file numbers the way up by resolution
        if block is not None:
            return f"{side}.{number}.block.{block}.{_RES.get(layer, layer)}.{leaf}"
        return f"{side}.{number}.{what.split('samplers')[0]}sample.{layer}.{leaf}"
    if match := _MID.fullmatch(key):
        side, kind, number_text, layer, leaf = match.groups()
        if kind == "resnets":
            return f"{side}.mid.block_{int(number_text) + 1}.{_RES.get(layer, layer)}.{leaf}"
        return f"{side}.mid.attn_1.{_ATTENTION[layer]}.{leaf}" if layer in _ATTENTION else None
    return None

"""How diffusers names the parts of Krea 2."""

from __future__ import annotations

from collections.abc import Iterable

from backend.families.krea2.net import Krea2Sizes

STARTS = (
    ("first.", "img_in."),
    ("tmlp.0.", "time_embed.linear_1."),
    ("tmlp.2.", "time_embed.linear_2."),
    ("tproj.1.", "time_mod_proj."),
    ("txtmlp.0.scale", "txt_in.norm.weight"),
    ("txtmlp.1.", "txt_in.linear_1."),
    ("txtmlp.3.", "txt_in.linear_2."),
    ("txtfusion.", "text_fusion."),
    ("blocks.", "transformer_blocks."),
    ("last.linear.", "final_layer.linear."),
    ("last.norm.scale", "final_layer.norm.weight"),
    ("last.modulation.lin", "final_layer.scale_shift_table"),
)
"""(single-file, diffusers) at the beginning of a name."""
INSIDE = (
    (".attn.wq.", ".attn.to_q."),
    (".attn.wk.", ".attn.to_k."),
    (".attn.wv.", ".attn.to_v."),
    (".attn.wo.", ".attn.to_out.0."),
    (".attn.gate.", ".attn.to_gate."),
    (".attn.qknorm.qnorm.scale", ".attn.norm_q.weight"),
    (".attn.qknorm.knorm.scale", ".attn.norm_k.weight"),
    (".mlp.", ".ff."),
    (".prenorm.scale", ".norm1.weight"),
    (".postnorm.scale", ".norm2.weight"),
    (".mod.lin", ".scale_shift_table"),
)


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name."""
    return {_renamed(key, 1, 0): key for key in keys}


def to_diffusers(sizes: Krea2Sizes, keys: Iterable[str]) -> dict[str, str]:
    """The same from the names of the net."""
    return {key: _renamed(key, 0, 1) for key in keys}


def _renamed(key: str, old: int, new: int) -> str:
    for pair in STARTS:
        if key.startswith(pair[old]):
            key = pair[new] + key[len(pair[old]) :]
            break
    for pair in INSIDE:
        key = key.replace(pair[old], pair[new])
    return key

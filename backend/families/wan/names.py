"""How diffusers names the parts of Wan's transformer, and how the published single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

_OUTSIDE = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "patch_embedding": "patch_embedding",
    "proj_out": "head.head",
}
_INSIDE = {
    **{f"attn{n}.{theirs}": f"{ours}.{name}" for n, ours in ((1, "self_attn"), (2, "cross_attn")) for theirs, name in (
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
        ("add_k_proj", "k_img"), ("add_v_proj", "v_img"), ("norm_added_k", "norm_k_img"),
    )},
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}  # fmt: skip
_OURS = {ours: theirs for theirs, ours in _OUTSIDE.items()}
_OURS_INSIDE = {ours: theirs for theirs, ours in _INSIDE.items()}
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias)")


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name, for every known key; unknown keys are left out."""
    made = {}
    for key in keys:
        name = _renamed(key, _OUTSIDE, _INSIDE, ("scale_shift_table", "modulation"), ("scale_shift_table", "head.modulation"))
        if name is not None:
            made[name] = key
    return made


def to_diffusers(sizes: object, keys: Iterable[str]) -> dict[str, str]:
    """The same for the keys of a net."""
    made = {}
    for key in keys:
        name = _renamed(key, _OURS, _OURS_INSIDE, ("modulation", "scale_shift_table"), ("head.modulation", "scale_shift_table"))
        if name is not None:
            made[key] = name
    return made


def _renamed(key: str, outside: dict[str, str], inside: dict[str, str], table: tuple[str, str], last: tuple[str, str]) -> str | None:
    if key == last[0]:
        return last[1]
    if match := _BLOCK.fullmatch(key):
        return f"blocks.{match[1]}.{inside[match[2]]}.{match[3]}" if match[2] in inside else None
    if key.startswith("blocks.") and key.endswith(f".{table[0]}"):
        return key.removesuffix(table[0]) + table[1]
    part, _, leaf = key.rpartition(".")
    return f"{outside[part]}.{leaf}" if part in outside else None

"""How diffusers names the parts of PixArt, which keeps queries, keys and values apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

from backend.weights.detect import count
from backend.weights.file import Origin, Piece, keys_of

ENDS: Mapping[str, str] = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "adaln_single.emb.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "adaln_single.emb.timestep_embedder.linear_2",
    "csize_embedder.mlp.0": "adaln_single.emb.resolution_embedder.linear_1",
    "csize_embedder.mlp.2": "adaln_single.emb.resolution_embedder.linear_2",
    "ar_embedder.mlp.0": "adaln_single.emb.aspect_ratio_embedder.linear_1",
    "ar_embedder.mlp.2": "adaln_single.emb.aspect_ratio_embedder.linear_2",
    "t_block.1": "adaln_single.linear",
    "y_embedder.y_proj.fc1": "caption_projection.linear_1",
    "y_embedder.y_proj.fc2": "caption_projection.linear_2",
    "final_layer.linear": "proj_out",
}
"""Module in single files -> module in diffusers."""
BLOCK: Mapping[str, str | tuple[str, ...]] = {
    "attn.qkv": ("attn1.to_q", "attn1.to_k", "attn1.to_v"),
    "attn.proj": "attn1.to_out.0",
    "cross_attn.q_linear": "attn2.to_q",
    "cross_attn.kv_linear": ("attn2.to_k", "attn2.to_v"),
    "cross_attn.proj": "attn2.to_out.0",
    "mlp.fc1": "ff.net.0.proj",
    "mlp.fc2": "ff.net.2",
}
TABLE = "scale_shift_table"
LEAVES = ("weight", "bias")


def to_diffusers(sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `to_diffusers`."""
    return {key: origin for key in keys if (origin := _theirs(key, sizes.width)) is not None}


def _theirs(key: str, width: int) -> Origin | None:
    if key == f"final_layer.{TABLE}":
        return TABLE
    module, _, leaf = key.rpartition(".")
    if module in ENDS:
        return f"{ENDS[module]}.{leaf}"
    inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", key)
    if inside is None:
        return None
    start = f"transformer_blocks.{inside[1]}."
    if inside[2] == TABLE:
        return start + TABLE
    found = BLOCK.get(inside[2].rpartition(".")[0])
    if found is None or isinstance(found, str):
        return None if found is None else f"{start}{found}.{leaf}"
    return tuple(Piece(f"{start}{one}.{leaf}", rows=width) for one in found)


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `from_diffusers`: for as many blocks as the file has."""
    header = set(keys)
    if "adaln_single.linear.weight" not in header or "caption_projection.linear_1.weight" not in header:
        return {}
    ours = [f"{module}.{leaf}" for module in ENDS for leaf in LEAVES] + [f"final_layer.{TABLE}"]
    for i in range(count(header, "transformer_blocks")):
        ours += [f"blocks.{i}.{TABLE}", *(f"blocks.{i}.{module}.{leaf}" for module in BLOCK for leaf in LEAVES)]
    found = to_diffusers(SimpleNamespace(width=0), ours)
    return {name: origin for name, origin in found.items() if all(key in header for key in keys_of(origin))}

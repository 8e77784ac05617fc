"""How diffusers names the parts of Lumina 2, which keeps queries, keys and values apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backend.families.lumina2.net import Lumina2Sizes
from backend.weights.file import Origin, Piece

OUTER = (
    ("cap_embedder.", "time_caption_embed.caption_embedder."),
    ("t_embedder.mlp.0.", "time_caption_embed.timestep_embedder.linear_1."),
    ("t_embedder.mlp.2.", "time_caption_embed.timestep_embedder.linear_2."),
    ("final_layer.adaLN_modulation.1.", "norm_out.linear_1."),
    ("final_layer.linear.", "norm_out.linear_2."),
)
"""(single-file, diffusers), at the beginning of a name."""
INSIDE = (
    (".attention.out.", ".attn.to_out.0."),
    (".attention.q_norm.", ".attn.norm_q."),
    (".attention.k_norm.", ".attn.norm_k."),
    (".feed_forward.w1.", ".feed_forward.linear_1."),
    (".feed_forward.w2.", ".feed_forward.linear_2."),
    (".feed_forward.w3.", ".feed_forward.linear_3."),
    (".adaLN_modulation.1.", ".norm1.linear."),
    (".attention_norm1.", ".norm1.norm."),
    (".attention_norm2.", ".norm2."),
)
"""In a block. The refiner of the prompt hears of no time, and its first norm stands alone."""
CONTEXT = "context_refiner."
PRODUCT = re.compile(r"(.*)\.(?:attention\.qkv|attn\.to_q)\.weight")


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """Single-file name -> diffusers name or pieces."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            table[f"{match[1]}.attention.qkv.weight"] = tuple(Piece(f"{match[1]}.attn.to_{part}.weight") for part in "qkv")
        elif not key.endswith((".attn.to_k.weight", ".attn.to_v.weight")):
            table[_renamed(key, 1, 0)] = key
    return table


def to_diffusers(sizes: Lumina2Sizes, keys: Iterable[str]) -> Mapping[str, Origin]:
    """The same from the names of the net."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            pieces = (Piece(f"{match[1]}.attn.to_{part}.weight", rows=rows) for part, rows in zip("qkv", sizes.rows, strict=True))
            table[key] = tuple(pieces)
        else:
            table[key] = _renamed(key, 0, 1)
    return table


def _renamed(key: str, old: int, new: int) -> str:
    for pair in OUTER:
        if key.startswith(pair[old]):
            return pair[new] + key[len(pair[old]) :]
    alone = (".attention_norm1.", ".norm1.")
    for pair in (alone, *INSIDE) if key.startswith(CONTEXT) else INSIDE:
        if pair[old] in key:
            return key.replace(pair[old], pair[new])
    return key

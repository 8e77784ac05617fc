"""How diffusers names the parts of Z-Image, which keeps queries, keys and values apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backend.families.z_image.net import ZImageSizes
from backend.weights.file import Origin, Piece

PARTS = (("x_embedder.", "all_x_embedder.2-1."), ("final_layer.", "all_final_layer.2-1."))
"""(single-file, diffusers), at the beginning of a name."""
INSIDE = (
    (".attention.out.", ".attention.to_out.0."),
    (".attention.q_norm.", ".attention.norm_q."),
    (".attention.k_norm.", ".attention.norm_k."),
)
PRODUCT = re.compile(r"(.*\.attention\.)(?:qkv|to_q)\.weight")


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """Single-file name -> diffusers name or pieces."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            table[f"{match[1]}qkv.weight"] = tuple(Piece(f"{match[1]}to_{part}.weight") for part in "qkv")
        elif not key.endswith((".attention.to_k.weight", ".attention.to_v.weight")):
            table[_renamed(key, 1, 0)] = key
    return table


def to_diffusers(sizes: ZImageSizes, keys: Iterable[str]) -> Mapping[str, Origin]:
    """The same from the names of the net."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            table[key] = tuple(Piece(f"{match[1]}to_{part}.weight", rows=sizes.width) for part in "qkv")
        else:
            table[key] = _renamed(key, 0, 1)
    return table


def _renamed(key: str, old: int, new: int) -> str:
    for pair in PARTS:
        if key.startswith(pair[old]):
            key = pair[new] + key[len(pair[old]) :]
    for pair in INSIDE:
        key = key.replace(pair[old], pair[new])
    return key

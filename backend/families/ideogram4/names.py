"""How diffusers names the parts of Ideogram 4, which keeps queries, keys and values apart."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.families.ideogram4.net import Ideogram4Sizes
from backend.weights.file import Origin, Piece

PRODUCT = re.compile(r"(.*\.attention\.)(?:qkv|to_q)\.weight")
OURS, THEIRS = ".attention.o.", ".attention.to_out.0."


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """Single-file name -> diffusers name or pieces."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            table[f"{match[1]}qkv.weight"] = tuple(Piece(f"{match[1]}to_{part}.weight") for part in "qkv")
        elif not key.endswith((".attention.to_k.weight", ".attention.to_v.weight")):
            table[key.replace(THEIRS, OURS)] = key
    return table


def to_diffusers(sizes: Ideogram4Sizes, keys: Iterable[str]) -> dict[str, Origin]:
    """The same from the names of the net."""
    table: dict[str, Origin] = {}
    for key in keys:
        if match := PRODUCT.fullmatch(key):
            table[key] = tuple(Piece(f"{match[1]}to_{part}.weight", rows=sizes.width) for part in "qkv")
        else:
            table[key] = key.replace(OURS, THEIRS)
    return table

"""How diffusers names the parts of AuraFlow."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backend.weights.file import Origin, Piece

PARTS: Mapping[str, str] = {
    "register_tokens": "register_tokens",
    "positional_encoding": "pos_embed.pos_embed",
    "init_x_linear": "pos_embed.proj",
    "cond_seq_linear": "context_embedder",
    "t_embedder.mlp.0": "time_step_proj.linear_1",
    "t_embedder.mlp.2": "time_step_proj.linear_2",
    "final_linear": "proj_out",
    "modF.1": "norm_out.linear",
}
_PERCEPTRON = {"c_fc1": "linear_1", "c_fc2": "linear_2", "c_proj": "out_projection"}
_FIRST = {"q": "add_q_proj", "k": "add_k_proj", "v": "add_v_proj", "o": "to_add_out"}
_LAST = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0"}
DOUBLE: Mapping[str, str] = {
    **{f"attn.w1{part}": f"attn.{name}" for part, name in _FIRST.items()},
    **{f"attn.w2{part}": f"attn.{name}" for part, name in _LAST.items()},
    **{f"mlpX.{part}": f"ff.{name}" for part, name in _PERCEPTRON.items()},
    **{f"mlpC.{part}": f"ff_context.{name}" for part, name in _PERCEPTRON.items()},
    "modX.1": "norm1.linear",
    "modC.1": "norm1_context.linear",
}
SINGLE: Mapping[str, str] = {
    **{f"attn.w1{part}": f"attn.{name}" for part, name in _LAST.items()},
    **{f"mlp.{part}": f"ff.{name}" for part, name in _PERCEPTRON.items()},
    "modCX.1": "norm1.linear",
}
BLOCKS = (("double_layers", "joint_transformer_blocks", DOUBLE), ("single_layers", "single_transformer_blocks", SINGLE))
TURNED = "modF.1"
"""Shift and scale stand in this order in single files, and in the other in diffusers."""


def to_diffusers(sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `to_diffusers`."""
    width = sizes.width
    return {key: origin for key in keys if (origin := _theirs(key, width)) is not None}


def _theirs(key: str, width: int) -> Origin | None:
    if key in PARTS:
        return PARTS[key]
    module, _, leaf = key.rpartition(".")
    if module == TURNED:
        return tuple(Piece(f"{PARTS[module]}.{leaf}", i, 2, width) for i in (1, 0))
    if module in PARTS:
        return f"{PARTS[module]}.{leaf}"
    for ours, theirs, table in BLOCKS:
        found = re.fullmatch(rf"{ours}\.(\d+)\.(.+)", module)
        if found and found[2] in table:
            return f"{theirs}.{found[1]}.{table[found[2]]}.{leaf}"
    return None


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `from_diffusers`."""
    keys = list(keys)
    if "joint_transformer_blocks.0.norm1.linear.weight" not in keys:
        return {}
    whole = {theirs: ours for ours, theirs in PARTS.items()}
    inside = {theirs: (ours, {b: a for a, b in table.items()}) for ours, theirs, table in BLOCKS}
    table: dict[str, Origin] = {}
    for key in keys:
        module, _, leaf = key.rpartition(".")
        kind, _, rest = module.partition(".")
        number, _, part = rest.partition(".")
        if key in whole:
            table[whole[key]] = key
        elif whole.get(module) == TURNED:
            table[f"{TURNED}.{leaf}"] = tuple(Piece(key, i, 2) for i in (1, 0))
        elif module in whole:
            table[f"{whole[module]}.{leaf}"] = key
        elif kind in inside and part in inside[kind][1]:
            table[f"{inside[kind][0]}.{number}.{inside[kind][1][part]}.{leaf}"] = key
    return table

"""How OpenCLIP names the parts of its text transformer: the names single-file checkpoints of SD 2 and SDXL kept."""

from __future__ import annotations

import re
from collections.abc import Iterable

from backend.weights.keymap import Part, Rename, Split, apply

_LAYER = r"transformer\.resblocks\.(\d+)\."
_OURS = r"text_model.encoder.layers.\1."
_PROJECTIONS = ("q_proj", "k_proj", "v_proj")

RULES = (
    Rename(r"token_embedding\.weight", "text_model.embeddings.token_embedding.weight"),
    Rename(r"positional_embedding", "text_model.embeddings.position_embedding.weight"),
    Split(_LAYER + r"attn\.in_proj_(weight|bias)", tuple(rf"{_OURS}self_attn.{name}.\2" for name in _PROJECTIONS)),
    Rename(_LAYER + r"attn\.out_proj\.(weight|bias)", _OURS + r"self_attn.out_proj.\2"),
    Rename(_LAYER + r"ln_([12])\.(weight|bias)", _OURS + r"layer_norm\2.\3"),
    Rename(_LAYER + r"mlp\.c_fc\.(weight|bias)", _OURS + r"mlp.fc1.\2"),
    Rename(_LAYER + r"mlp\.c_proj\.(weight|bias)", _OURS + r"mlp.fc2.\2"),
    Rename(r"ln_final\.(weight|bias)", r"text_model.final_layer_norm.\1"),
    Rename(r"text_projection", "text_projection.weight", transpose=True),
    Rename(r"text_projection\.weight", "text_projection.weight"),
)
"""Queries, keys and values are one matrix there; the projection multiplies from the right."""


def from_openclip(keys: Iterable[str]) -> dict[str, Part]:
    """Net parameter name -> part of the file, for every key of the text side; others (the vision tower, the logit scale) are left out."""
    return dict(apply(RULES, keys).parts)


_BACK = (
    (r"text_model\.embeddings\.token_embedding\.weight", "token_embedding.weight"),
    (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"text_model\.encoder\.layers\.(\d+)\.self_attn\.[qkv]_proj\.(weight|bias)", r"transformer.resblocks.\1.attn.in_proj_\2"),
    (r"text_model\.encoder\.layers\.(\d+)\.self_attn\.out_proj\.(weight|bias)", r"transformer.resblocks.\1.attn.out_proj.\2"),
    (r"text_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.(weight|bias)", r"transformer.resblocks.\1.ln_\2.\3"),
    (r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc1\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_fc.\2"),
    (r"text_model\.encoder\.layers\.(\d+)\.mlp\.fc2\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_proj.\2"),
    (r"text_model\.final_layer_norm\.(weight|bias)", r"ln_final.\1"),
    (r"text_projection\.weight", "text_projection"),
)


def to_openclip(names: Iterable[str]) -> dict[str, list[tuple[str, bool]]]:
    """OpenCLIP name -> the parameters it is made of in order, each with whether it is transposed. The way back from `from_openclip`."""
    made: dict[str, list[tuple[str, bool]]] = {}
    for name in sorted(names, key=lambda n: [n.find(f".{p}.") < 0 for p in _PROJECTIONS]):  # queries, keys, values
        for pattern, target in _BACK:
            if match := re.fullmatch(pattern, name):
                made.setdefault(match.expand(target), []).append((name, target == "text_projection"))
    return made

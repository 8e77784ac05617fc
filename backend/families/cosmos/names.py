"""How diffusers names the parts of Cosmos Predict 2's transformer and of Anima's adapter, and how the single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable

ADAPTER, CONDITIONER = "llm_adapter.", "text_conditioner."
"""The adapter's roof in single files, and in a folder's layout."""
_PARTS = {"self_attn": ("norm1", "attn1"), "cross_attn": ("norm2", "attn2"), "mlp": ("norm3", "ff")}
_LAYERS = {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "output_proj": "to_out.0", "q_norm": "norm_q", "k_norm": "norm_k"}
_INSIDE = {
    **{f"adaln_modulation_{part}.{i}": f"{norm}.linear_{i}" for part, (norm, _) in _PARTS.items() for i in (1, 2)},
    **{f"{part}.{ours}": f"{attn}.{theirs}" for part, (_, attn) in _PARTS.items() if part != "mlp" for ours, theirs in _LAYERS.items()},
    "mlp.layer1": "ff.net.0.proj",
    "mlp.layer2": "ff.net.2",
}
_OUTSIDE = {
    "x_embedder.proj.1": "patch_embed.proj",
    "t_embedder.1.linear_1": "time_embed.t_embedder.linear_1",
    "t_embedder.1.linear_2": "time_embed.t_embedder.linear_2",
    "t_embedding_norm": "time_embed.norm",
    "final_layer.adaln_modulation.1": "norm_out.linear_1",
    "final_layer.adaln_modulation.2": "norm_out.linear_2",
    "final_layer.linear": "proj_out",
}
_THEIRS = {theirs: ours for ours, theirs in _OUTSIDE.items()}
_THEIRS_INSIDE = {theirs: ours for ours, theirs in _INSIDE.items()}
_BLOCK = re.compile(r"(blocks|transformer_blocks)\.(\d+)\.(.+)\.(weight|bias)")


def from_diffusers(keys: Iterable[str]) -> dict[str, str]:
    """Single-file name -> diffusers name, for every known key; unknown keys are left out."""
    return {name: key for key in keys if (name := _renamed(key, _THEIRS, _THEIRS_INSIDE, "blocks", (CONDITIONER, ADAPTER))) is not None}


def to_diffusers(sizes: object, keys: Iterable[str]) -> dict[str, str]:
    """The same for the keys of a net."""
    return {
        key: name for key in keys if (name := _renamed(key, _OUTSIDE, _INSIDE, "transformer_blocks", (ADAPTER, CONDITIONER))) is not None
    }


def _renamed(key: str, outside: dict[str, str], inside: dict[str, str], blocks: str, roofs: tuple[str, str]) -> str | None:
    if key.startswith(roofs[0]):
        return roofs[1] + key.removeprefix(roofs[0])
    if match := _BLOCK.fullmatch(key):
        return f"{blocks}.{match[2]}.{inside[match[3]]}.{match[4]}" if match[3] in inside else None
    part, _, leaf = key.rpartition(".")
    return f"{outside[part]}.{leaf}" if part in outside else None

"""How diffusers names the parts of Stable Diffusion 3, which keeps queries, keys and values apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backend.weights.detect import count
from backend.weights.file import Origin, Piece, keys_of

ENDS: Mapping[str, str] = {
    "x_embedder.proj": "pos_embed.proj",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "context_embedder": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
"""Module in single files -> module in diffusers."""
BLOCK: Mapping[str, str | tuple[str, ...]] = {
    "x_block.adaLN_modulation.1": "norm1.linear",
    "context_block.adaLN_modulation.1": "norm1_context.linear",
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "x_block.attn.proj": "attn.to_out.0",
    "x_block.attn2.proj": "attn2.to_out.0",
    "context_block.attn.proj": "attn.to_add_out",
    "x_block.attn.ln_q": "attn.norm_q",
    "x_block.attn.ln_k": "attn.norm_k",
    "x_block.attn2.ln_q": "attn2.norm_q",
    "x_block.attn2.ln_k": "attn2.norm_k",
    "context_block.attn.ln_q": "attn.norm_added_q",
    "context_block.attn.ln_k": "attn.norm_added_k",
    "x_block.mlp.fc1": "ff.net.0.proj",
    "x_block.mlp.fc2": "ff.net.2",
    "context_block.mlp.fc1": "ff_context.net.0.proj",
    "context_block.mlp.fc2": "ff_context.net.2",
}
OURS, THEIRS = "joint_blocks", "transformer_blocks"
LEAVES = ("weight", "bias")


def origins(keys: Iterable[str], layers: int, width: int) -> dict[str, Origin]:
    """Single-file name -> diffusers name or pieces of `width` rows, for those of `keys` that have one.

    Shift and scale stand in the other order in diffusers where nothing else is modulated: at the end, and for the last block's prompt.
    """
    turned = ("final_layer.adaLN_modulation.1", f"{OURS}.{layers - 1}.context_block.adaLN_modulation.1")
    table: dict[str, Origin] = {"pos_embed": "pos_embed.pos_embed"} if "pos_embed" in (keys := list(keys)) else {}
    for key in keys:
        module, _, leaf = key.rpartition(".")
        found = _theirs(module)
        if found is None:
            continue
        if module in turned:
            table[key] = tuple(Piece(f"{found}.{leaf}", i, 2, width) for i in (1, 0))
        elif isinstance(found, str):
            table[key] = f"{found}.{leaf}"
        else:
            table[key] = tuple(Piece(f"{one}.{leaf}", rows=width) for one in found)
    return table


def _theirs(module: str) -> str | tuple[str, ...] | None:
    if module in ENDS:
        return ENDS[module]
    kind, _, rest = module.partition(".")
    number, _, inside = rest.partition(".")
    found = BLOCK.get(inside) if kind == OURS else None
    if found is None:
        return None
    start = f"{THEIRS}.{number}."
    return start + found if isinstance(found, str) else tuple(start + one for one in found)


def to_diffusers(sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `to_diffusers`."""
    return origins(keys, sizes.layers, sizes.width)


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """A family's `from_diffusers`: for as many blocks as the file has."""
    header = set(keys)
    if "pos_embed.proj.weight" not in header or "transformer_blocks.0.norm1_context.linear.weight" not in header:
        return {}
    layers = count(header, THEIRS)
    ours = ["pos_embed", *(f"{module}.{leaf}" for module in ENDS for leaf in LEAVES)]
    ours += [f"{OURS}.{i}.{module}.{leaf}" for i in range(layers) for module in BLOCK for leaf in LEAVES]
    return {name: origin for name, origin in origins(ours, layers, 0).items() if all(key in header for key in keys_of(origin))}

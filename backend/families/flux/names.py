"""How diffusers names the parts of Flux and its relatives, which keep queries, keys and values apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from backend.weights.detect import count
from backend.weights.file import Origin, Piece, keys_of

ENDS: Mapping[str, str] = {
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
"""Module in single files -> module in diffusers."""
TURNED = "final_layer.adaLN_modulation.1"
"""Shift and scale stand in this order in single files, and in the other in diffusers."""
DOUBLE: Mapping[str, str | tuple[str, ...]] = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_attn.norm.query_norm": "attn.norm_q",
    "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q",
    "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
SINGLE: Mapping[str, str | tuple[str, ...]] = {
    "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q",
    "norm.key_norm": "attn.norm_k",
    "linear2": "proj_out",
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
}
BLOCKS = (("double_blocks", "transformer_blocks"), ("single_blocks", "single_transformer_blocks"))

Table = Mapping[str, str | tuple[str, ...]]


@dataclass(frozen=True)
class Names:
    """The names of one family: tables of modules outside of blocks, and inside of both kinds."""

    ends: Table = field(default_factory=lambda: ENDS)
    double: Table = field(default_factory=lambda: DOUBLE)
    single: Table = field(default_factory=lambda: SINGLE)
    mark: str = "single_transformer_blocks."
    """What a key of the other spelling begins with; a file without is not in it."""

    def theirs(self, module: str) -> str | tuple[str, ...] | None:
        """Module in single files -> module or modules in diffusers."""
        if module in self.ends:
            return self.ends[module]
        kind, _, rest = module.partition(".")
        number, _, inside = rest.partition(".")
        for (ours, theirs), table in zip(BLOCKS, (self.double, self.single), strict=True):
            if kind == ours and inside in table:
                found = table[inside]
                start = f"{theirs}.{number}."
                return start + found if isinstance(found, str) else tuple(start + one for one in found)
        return None

    def to_diffusers(self, sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
        """A family's `to_diffusers`; rows need no more of `sizes` than `width` and `hidden`."""
        table: dict[str, Origin] = {}
        for key in keys:
            module, _, leaf = key.rpartition(".")
            leaf = "weight" if leaf == "scale" else leaf
            found = self.theirs(module)
            if found is None:
                continue
            if module == TURNED:
                table[key] = tuple(Piece(f"{found}.{leaf}", i, 2, sizes.width) for i in (1, 0))
            elif isinstance(found, str):
                table[key] = f"{found}.{leaf}"
            else:
                rows = {one: sizes.hidden if one.endswith("proj_mlp") else sizes.width for one in found}
                table[key] = tuple(Piece(f"{one}.{leaf}", rows=rows[one]) for one in found)
        return table

    def from_diffusers(self, keys: Iterable[str]) -> dict[str, Origin]:
        """A family's `from_diffusers`: the same the other way round, for as many blocks as the file has."""
        header = set(keys)
        if not any(key.startswith(self.mark) for key in header):
            return {}
        ours = [f"{module}.{leaf}" for module in self.ends for leaf in LEAVES]
        for (name, theirs), table in zip(BLOCKS, (self.double, self.single), strict=True):
            ours += [f"{name}.{i}.{module}.{leaf}" for i in range(count(header, theirs)) for module in table for leaf in LEAVES]
        found = self.to_diffusers(_UNKNOWN, (key for key in ours if (".norm" in key) == key.endswith(".scale")))
        return {name: origin for name, origin in found.items() if all(key in header for key in keys_of(origin))}


LEAVES = ("weight", "bias", "scale")
_UNKNOWN = SimpleNamespace(width=0, hidden=0)
FLUX = Names()
from_diffusers, to_diffusers = FLUX.from_diffusers, FLUX.to_diffusers

"""Where files keep a language model, and under which names: those of transformers behind any prefix, or llama.cpp's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

FIRST = ("layers.0.self_attn.q_proj.weight", "layers.0.linear_attn.in_proj_qkv.weight")
EMBEDDINGS = "embed_tokens.weight"
HEAD = "lm_head.weight"

LLAMA_CPP = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
"""Of a block's parts. In a sandwich net `ffn_norm` stands before the perceptron, behind another norm."""
OUTER = {"token_embd.weight": EMBEDDINGS, "output_norm.weight": "norm.weight", "output.weight": HEAD}


@dataclass(frozen=True)
class Place:
    """A language model in a file."""

    prefix: str
    names: dict[str, str]
    """Net name -> key of the file."""
    head: str | None
    """Key of the head, where it is not the table of embeddings."""
    llama_cpp: bool = False
    """Stored by llama.cpp: Gemma's norms are whole, and Llama's channels in its order."""


def places(keys: Iterable[str]) -> list[Place]:
    """Every language model that the keys show."""
    every = list(keys)
    known = set(every)
    found = []
    for key in every:
        first = next((first for first in FIRST if key.endswith(first)), None)
        if first is None:
            continue
        prefix = key.removesuffix(first)
        if prefix + EMBEDDINGS in known and prefix + "layers.0.mlp.gate_proj.weight" in known:
            names = {k[len(prefix) :]: k for k in every if k.startswith((prefix + "layers.", prefix + "norm.", prefix + EMBEDDINGS))}
            heads = dict.fromkeys((prefix.removesuffix("model.") + HEAD, prefix + HEAD, HEAD))
            found.append(Place(prefix, names, next((head for head in heads if head in known), None)))
    if not found and {"token_embd.weight", "blk.0.attn_q.weight", "blk.0.ffn_gate.weight"} <= known:
        names = _llama_cpp(every)
        found.append(Place("", names, names.pop(HEAD, None), llama_cpp=True))
    return found


def _llama_cpp(keys: Iterable[str]) -> dict[str, str]:
    keys = list(keys)
    sandwich = "blk.0.post_ffw_norm.weight" in keys
    names: dict[str, str] = {}
    for key in keys:
        block = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", key)
        if block is not None and block[2] in LLAMA_CPP:
            part = "pre_feedforward_layernorm" if sandwich and block[2] == "ffn_norm" else LLAMA_CPP[block[2]]
            names[f"layers.{block[1]}.{part}.{block[3]}"] = key
        elif key in OUTER:
            names[OUTER[key]] = key
    return names

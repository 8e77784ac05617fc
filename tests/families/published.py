"""Reference weights under the names of published single files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
_INSIDE = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_OUTSIDE = {
    "embeddings.token_embedding.weight": "token_embedding.weight",
    "embeddings.position_embedding.weight": "positional_embedding",
    "final_layer_norm.weight": "ln_final.weight",
    "final_layer_norm.bias": "ln_final.bias",
}


def plain(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names without the root, whatever version saved them."""
    return {key.removeprefix("text_model."): value for key, value in state.items() if not key.endswith("position_ids")}


def rooted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """transformers' names with the root that files have."""
    return {key if key.startswith("text_projection") else f"text_model.{key}": value for key, value in plain(state).items()}


def openclip(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformers text encoder as OpenCLIP saves it: queries, keys and values fused, the projection transposed."""
    ours: dict[str, Tensor] = {"logit_scale": torch.tensor(4.6)}
    fused: dict[str, dict[str, Tensor]] = {}
    for key, value in plain(state).items():
        if key in _OUTSIDE:
            ours[_OUTSIDE[key]] = value
        elif key == "text_projection.weight":
            ours["text_projection"] = value.T.contiguous()
        elif match := _LAYER.fullmatch(key):
            start, (inside, _, leaf) = f"transformer.resblocks.{match[1]}.", match[2].rpartition(".")
            if inside in _INSIDE:
                ours[f"{start}{_INSIDE[inside]}.{leaf}"] = value
            else:
                fused.setdefault(f"{start}attn.in_proj_{leaf}", {})[inside.removeprefix("self_attn.")] = value
    return ours | {key: torch.cat([parts[name] for name in ("q_proj", "k_proj", "v_proj")]) for key, parts in fused.items()}


def openclip_vision(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A transformers image encoder as OpenCLIP saves it, without the prefix."""
    outside = {
        "embeddings.class_embedding": "class_embedding", "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding", "pre_layrnorm.weight": "ln_pre.weight",
        "pre_layrnorm.bias": "ln_pre.bias", "post_layernorm.weight": "ln_post.weight", "post_layernorm.bias": "ln_post.bias",
    }  # fmt: skip
    inner = {key.removeprefix("vision_model."): value for key, value in state.items()}
    ours = {outside[key]: value for key, value in inner.items() if key in outside}
    layers = openclip({key: value for key, value in inner.items() if key.startswith("encoder.")})
    del layers["logit_scale"]
    return ours | layers | ({"proj": inner["visual_projection.weight"].T} if "visual_projection.weight" in inner else {})


def respelled(state: Mapping[str, Tensor], spellings: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    """Parts of names replaced, in order, and queries, keys and values of a layer as one."""
    made: dict[str, Tensor] = {}
    for key, value in state.items():
        if ".to_k." in key or ".to_v." in key:
            continue
        name = key
        for theirs, single in spellings:
            name = name.replace(theirs, single)
        if ".to_q." in key:
            value = torch.cat([state[key.replace("to_q", f"to_{part}")] for part in "qkv"])
        made[name.replace(".to_q.", ".qkv.")] = value
    return made

"""How diffusers names the parts of Wan's transformers, and how the published single files name them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from backend.weights.file import Origin, Piece

_OUTSIDE = {
    "condition_embedder.time_embedder.linear_1": "time_embedding.0",
    "condition_embedder.time_embedder.linear_2": "time_embedding.2",
    "condition_embedder.text_embedder.linear_1": "text_embedding.0",
    "condition_embedder.text_embedder.linear_2": "text_embedding.2",
    "condition_embedder.time_proj": "time_projection.1",
    "condition_embedder.image_embedder.norm1": "img_emb.proj.0",
    "condition_embedder.image_embedder.ff.net.0.proj": "img_emb.proj.1",
    "condition_embedder.image_embedder.ff.net.2": "img_emb.proj.3",
    "condition_embedder.image_embedder.norm2": "img_emb.proj.4",
    "patch_embedding": "patch_embedding",
    "vace_patch_embedding": "vace_patch_embedding",
    "pose_patch_embedding": "pose_patch_embedding",
    "proj_out": "head.head",
    "motion_encoder.conv_in": "motion_encoder.enc.net_app.convs.0.0",
    "face_encoder.out_proj": "face_encoder.out_proj",
    **{f"face_encoder.{name}": f"face_encoder.{name}.conv" for name in ("conv1_local", "conv2", "conv3")},
}
_WHOLE = {
    "condition_embedder.image_embedder.pos_embed": "img_emb.emb_pos",
    "scale_shift_table": "head.modulation",
    "motion_encoder.motion_synthesis_weight": "motion_encoder.dec.direction.weight",
    "motion_encoder.conv_in.act_fn.bias": "motion_encoder.enc.net_app.convs.0.1.bias",
    "face_encoder.padding_tokens": "face_encoder.padding_tokens",
}
"""Names that stand for one weight."""
_INSIDE = {
    **{f"attn{n}.{theirs}": f"{ours}.{name}" for n, ours in ((1, "self_attn"), (2, "cross_attn")) for theirs, name in (
        ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"), ("norm_q", "norm_q"), ("norm_k", "norm_k"),
        ("add_k_proj", "k_img"), ("add_v_proj", "v_img"), ("norm_added_k", "norm_k_img"),
    )},
    "norm2": "norm3",
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
    "proj_in": "before_proj",
    "proj_out": "after_proj",
}  # fmt: skip
_FACE = {"to_q": "linear1_q", "to_out": "linear2", "norm_q": "q_norm", "norm_k": "k_norm"}
_TABLE = {"scale_shift_table": "modulation"}
_SHRINKING = {
    "conv1.weight": "conv1.0.weight", "conv1.act_fn.bias": "conv1.1.bias", "conv2.weight": "conv2.1.weight",
    "conv2.act_fn.bias": "conv2.2.bias", "conv_skip.weight": "skip.1.weight",
}  # fmt: skip
_BLOCK = re.compile(r"((?:vace_)?blocks\.\d+)\.(.+)\.(weight|bias)")
_ROWS = re.compile(r"((?:vace_)?blocks\.\d+)\.(scale_shift_table|modulation)")
_CONVS = "motion_encoder.enc.net_app.convs"


def from_diffusers(keys: Iterable[str]) -> dict[str, Origin]:
    """Single-file name -> diffusers name, or pieces of such, for every known key; unknown keys are left out."""
    keys = list(keys)
    last = 1 + sum(key.startswith("motion_encoder.res_blocks.") and key.endswith(".conv_skip.weight") for key in keys)
    made: dict[str, Origin] = {}
    for key in keys:
        name = _of_the_face(key, last) or _renamed(key, _OUTSIDE, _WHOLE, _INSIDE, _TABLE)
        if name is not None:
            made[name] = key
        elif match := re.fullmatch(r"face_adapter\.(\d+)\.to_k\.(weight|bias)", key):
            values = f"face_adapter.{match[1]}.to_v.{match[2]}"
            made[f"face_adapter.fuser_blocks.{match[1]}.linear1_kv.{match[2]}"] = (Piece(key), Piece(values))
    return made


def to_diffusers(sizes: Any, keys: Iterable[str]) -> dict[str, Origin]:
    """The same for the keys of a net, pieces with their rows."""
    keys = list(keys)
    last = 1 + sum(key.startswith(_CONVS) and key.endswith(".skip.1.weight") for key in keys)
    made: dict[str, Origin] = {}
    for key in keys:
        name = _to_the_face(key, last) or _renamed(key, *(_turned(table) for table in (_OUTSIDE, _WHOLE, _INSIDE, _TABLE)))
        if name is not None:
            made[key] = name
        elif match := re.fullmatch(r"face_adapter\.fuser_blocks\.(\d+)\.linear1_kv\.(weight|bias)", key):
            start, rows = f"face_adapter.{match[1]}", sizes.width
            made[key] = (Piece(f"{start}.to_k.{match[2]}", rows=rows), Piece(f"{start}.to_v.{match[2]}", rows=rows))
    return made


def _turned(table: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in table.items()}


def _renamed(
    key: str, outside: Mapping[str, str], whole: Mapping[str, str], inside: Mapping[str, str], table: Mapping[str, str]
) -> str | None:
    if key in whole:
        return whole[key]
    if match := _ROWS.fullmatch(key):
        return f"{match[1]}.{table[match[2]]}" if match[2] in table else None
    if match := _BLOCK.fullmatch(key):
        return f"{match[1]}.{inside[match[2]]}.{match[3]}" if match[2] in inside else None
    part, _, leaf = key.rpartition(".")
    return f"{outside[part]}.{leaf}" if part in outside else None


def _of_the_face(key: str, last: int) -> str | None:
    """Names of what looks at faces; `last` is the number of the last convolution in the single file."""
    if match := re.fullmatch(r"motion_encoder\.res_blocks\.(\d+)\.(.+)", key):
        return f"{_CONVS}.{int(match[1]) + 1}.{_SHRINKING[match[2]]}" if match[2] in _SHRINKING else None
    if match := re.fullmatch(r"motion_encoder\.motion_network\.(\d+)\.(weight|bias)", key):
        return f"motion_encoder.enc.fc.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"face_adapter\.(\d+)\.(\w+)\.(weight|bias)", key):
        return f"face_adapter.fuser_blocks.{match[1]}.{_FACE[match[2]]}.{match[3]}" if match[2] in _FACE else None
    return f"{_CONVS}.{last}.weight" if key == "motion_encoder.conv_out.weight" else None


def _to_the_face(key: str, last: int) -> str | None:
    """The same the other way."""
    if key == f"{_CONVS}.{last}.weight":
        return "motion_encoder.conv_out.weight"
    if match := re.fullmatch(re.escape(_CONVS) + r"\.(\d+)\.(.+)", key):
        inside = _turned(_SHRINKING)
        return f"motion_encoder.res_blocks.{int(match[1]) - 1}.{inside[match[2]]}" if match[2] in inside else None
    if match := re.fullmatch(r"motion_encoder\.enc\.fc\.(\d+)\.(weight|bias)", key):
        return f"motion_encoder.motion_network.{match[1]}.{match[2]}"
    if match := re.fullmatch(r"face_adapter\.fuser_blocks\.(\d+)\.(\w+)\.(weight|bias)", key):
        inside = _turned(_FACE)
        return f"face_adapter.{match[1]}.{inside[match[2]]}.{match[3]}" if match[2] in inside else None
    return None

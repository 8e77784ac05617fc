"""The names that pose models have in files: those of transformers, and those of the authors."""

from __future__ import annotations

from backend.weights.keymap import Rename, Rule, Split

_OURS = r"layers.\1."
_LAYER = r"backbone\.encoder\.layer\.(\d+)\."
_BLOCK = r"backbone\.blocks\.(\d+)\."
_COUNTED = (("weight", "weight"), ("bias", "bias"), ("running_mean", "mean"), ("running_var", "variance"))
TRANSFORMERS: tuple[Rule, ...] = (
    Rename(r"backbone\.embeddings\.position_embeddings", "position_embeddings"),
    Rename(r"backbone\.embeddings\.patch_embeddings\.projection\.(weight|bias)", r"patches.\1"),
    Rename(_LAYER + r"layernorm_before\.(weight|bias)", _OURS + r"norm1.\2"),
    Rename(_LAYER + r"layernorm_after\.(weight|bias)", _OURS + r"norm2.\2"),
    Rename(_LAYER + r"attention\.attention\.([qkv])[a-z]+\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_LAYER + r"attention\.output\.dense\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_LAYER + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_LAYER + r"mlp\.experts\.0\.(weight|bias)", _OURS + r"expert.\2"),
    Rename(r"backbone\.layernorm\.(weight|bias)", r"norm.\1"),
    Rename(r"head\.conv\.(weight|bias)", r"head.conv.\1"),
    Rename(r"head\.deconv([12])\.weight", r"head.doubling\1.kernel"),
    *(Rename(rf"head\.batchnorm([12])\.{theirs}", rf"head.doubling\1.{ours}") for theirs, ours in _COUNTED),
)
AUTHORS: tuple[Rule, ...] = (
    Rename(r"backbone\.pos_embed", "position_embeddings"),
    Rename(r"backbone\.patch_embed\.proj\.(weight|bias)", r"patches.\1"),
    Rename(_BLOCK + r"norm([12])\.(weight|bias)", _OURS + r"norm\2.\3"),
    Split(_BLOCK + r"attn\.qkv\.(weight|bias)", tuple(rf"{_OURS}{name}.\2" for name in "qkv")),
    Rename(_BLOCK + r"attn\.proj\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_BLOCK + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_BLOCK + r"mlp\.experts\.0\.(weight|bias)", _OURS + r"expert.\2"),
    Rename(r"backbone\.last_norm\.(weight|bias)", r"norm.\1"),
    Rename(r"keypoint_head\.final_layer\.(weight|bias)", r"head.conv.\1"),
    *(
        rule
        for i in range(2)
        for rule in (
            Rename(rf"keypoint_head\.deconv_layers\.{3 * i}\.weight", f"head.doubling{i + 1}.kernel"),
            *(Rename(rf"keypoint_head\.deconv_layers\.{3 * i + 1}\.{theirs}", f"head.doubling{i + 1}.{ours}") for theirs, ours in _COUNTED),
        )
    ),
)
RULES = TRANSFORMERS + AUTHORS

"""The names that depth models have in files: those of transformers, and those of the authors."""

from __future__ import annotations

from backend.weights.keymap import Rename, Rule, Split

_OURS = r"backbone.layers.\1."
_LAYER = r"(?:backbone|dpt)\.encoder\.layer\.(\d+)\."
_CONVOLUTIONS = r"dpt\.embeddings\.backbone\.bit\."
_NECK = r"neck\.reassemble_stage\."
TRANSFORMERS: tuple[Rule, ...] = (
    Rename(r"(?:backbone|dpt)\.embeddings\.(cls_token|position_embeddings)", r"backbone.\1"),
    Rename(r"(?:backbone|dpt)\.embeddings\.(?:patch_embeddings\.)?projection\.(weight|bias)", r"backbone.patches.\1"),
    Rename(_LAYER + r"norm([12])\.(weight|bias)", _OURS + r"norm\2.\3"),
    Rename(_LAYER + r"layernorm_before\.(weight|bias)", _OURS + r"norm1.\2"),
    Rename(_LAYER + r"layernorm_after\.(weight|bias)", _OURS + r"norm2.\2"),
    Rename(_LAYER + r"attention\.attention\.([qkv])[a-z]+\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_LAYER + r"attention\.output\.dense\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_LAYER + r"layer_scale([12])\.lambda1", _OURS + r"scale\2"),
    Rename(_LAYER + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(_LAYER + r"intermediate\.dense\.(weight|bias)", _OURS + r"fc1.\2"),
    Rename(_LAYER + r"output\.dense\.(weight|bias)", _OURS + r"fc2.\2"),
    Rename(r"backbone\.layernorm\.(weight|bias)", r"backbone.norm.\1"),
    Rename(_CONVOLUTIONS + r"embedder\.convolution\.weight", "backbone.convolutions.stem.weight"),
    Rename(_CONVOLUTIONS + r"embedder\.norm\.(weight|bias)", r"backbone.convolutions.norm.\1"),
    Rename(
        _CONVOLUTIONS + r"encoder\.stages\.(\d)\.layers\.(\d+)\.downsample\.conv\.weight",
        r"backbone.convolutions.stages.\1.\2.shortcut.0.weight",
    ),
    Rename(
        _CONVOLUTIONS + r"encoder\.stages\.(\d)\.layers\.(\d+)\.downsample\.norm\.(weight|bias)",
        r"backbone.convolutions.stages.\1.\2.shortcut.1.\3",
    ),
    Rename(_CONVOLUTIONS + r"encoder\.stages\.(\d)\.layers\.(\d+)\.(conv\d\.weight|norm\d\.\w+)", r"backbone.convolutions.stages.\1.\2.\3"),
    Rename(_NECK + r"readout_projects\.(\d)\.0\.(weight|bias)", r"neck.readings.\1.readout.\2"),
    Rename(_NECK + r"layers\.(\d)\.(projection|resize)\.(weight|bias)", r"neck.readings.\1.\2.\3"),
    Rename(r"neck\.convs\.(\d)\.weight", r"neck.convs.\1.weight"),
    Rename(r"neck\.fusion_stage\.layers\.(\d)\.projection\.(weight|bias)", r"neck.fusion.\1.projection.\2"),
    Rename(
        r"neck\.fusion_stage\.layers\.(\d)\.residual_layer([12])\.convolution([12])\.(weight|bias)", r"neck.fusion.\1.residual\2.conv\3.\4"
    ),
    Rename(r"head\.conv([123])\.(weight|bias)", r"head.conv\1.\2"),
    *(Rename(rf"head\.head\.{2 * i}\.(weight|bias)", rf"head.conv{i + 1}.\1") for i in range(3)),
)

_WHOLE = r"pretrained\.(?:model\.)?"
_BLOCK = _WHOLE + r"blocks\.(\d+)\."
_STEM = _WHOLE + r"patch_embed\.backbone\."
_SCRATCH = r"(?:depth_head\.)?scratch\."
AUTHORS: tuple[Rule, ...] = (
    Rename(_WHOLE + r"cls_token", "backbone.cls_token"),
    Rename(_WHOLE + r"pos_embed", "backbone.position_embeddings"),
    Rename(_WHOLE + r"patch_embed\.proj\.(weight|bias)", r"backbone.patches.\1"),
    Rename(_BLOCK + r"norm([12])\.(weight|bias)", _OURS + r"norm\2.\3"),
    Split(_BLOCK + r"attn\.qkv\.(weight|bias)", tuple(rf"{_OURS}{name}.\2" for name in "qkv")),
    Rename(_BLOCK + r"attn\.proj\.(weight|bias)", _OURS + r"out.\2"),
    Rename(_BLOCK + r"ls([12])\.gamma", _OURS + r"scale\2"),
    Rename(_BLOCK + r"mlp\.(fc[12])\.(weight|bias)", _OURS + r"\2.\3"),
    Rename(r"pretrained\.norm\.(weight|bias)", r"backbone.norm.\1"),
    Rename(_STEM + r"stem\.conv\.weight", "backbone.convolutions.stem.weight"),
    Rename(_STEM + r"stem\.norm\.(weight|bias)", r"backbone.convolutions.norm.\1"),
    Rename(_STEM + r"stages\.(\d)\.blocks\.(\d+)\.downsample\.conv\.weight", r"backbone.convolutions.stages.\1.\2.shortcut.0.weight"),
    Rename(_STEM + r"stages\.(\d)\.blocks\.(\d+)\.downsample\.norm\.(weight|bias)", r"backbone.convolutions.stages.\1.\2.shortcut.1.\3"),
    Rename(_STEM + r"stages\.(\d)\.blocks\.(\d+)\.(conv\d\.weight|norm\d\.\w+)", r"backbone.convolutions.stages.\1.\2.\3"),
    Rename(r"depth_head\.projects\.(\d)\.(weight|bias)", r"neck.readings.\1.projection.\2"),
    Rename(r"depth_head\.resize_layers\.(\d)\.(weight|bias)", r"neck.readings.\1.resize.\2"),
    *(
        rule
        for i in range(4)  # numbered from 1 there
        for rule in (
            Rename(rf"pretrained\.act_postprocess{i + 1}\.0\.project\.0\.(weight|bias)", rf"neck.readings.{i}.readout.\1"),
            Rename(rf"pretrained\.act_postprocess{i + 1}\.3\.(weight|bias)", rf"neck.readings.{i}.projection.\1"),
            Rename(rf"pretrained\.act_postprocess{i + 1}\.4\.(weight|bias)", rf"neck.readings.{i}.resize.\1"),
            Rename(rf"{_SCRATCH}layer{i + 1}_rn\.weight", f"neck.convs.{i}.weight"),
        )
    ),
    *(
        rule
        for i in range(4)  # numbered from fine to coarse there
        for rule in (
            Rename(rf"{_SCRATCH}refinenet{4 - i}\.out_conv\.(weight|bias)", rf"neck.fusion.{i}.projection.\1"),
            Rename(rf"{_SCRATCH}refinenet{4 - i}\.resConfUnit([12])\.conv([12])\.(weight|bias)", rf"neck.fusion.{i}.residual\1.conv\2.\3"),
        )
    ),
    Rename(_SCRATCH + r"output_conv1\.(weight|bias)", r"head.conv1.\1"),
    Rename(_SCRATCH + r"output_conv2\.0\.(weight|bias)", r"head.conv2.\1"),
    Rename(_SCRATCH + r"output_conv2\.2\.(weight|bias)", r"head.conv3.\1"),
    *(Rename(rf"scratch\.output_conv\.{2 * i}\.(weight|bias)", rf"head.conv{i + 1}.\1") for i in range(3)),
)
RULES = TRANSFORMERS + AUTHORS

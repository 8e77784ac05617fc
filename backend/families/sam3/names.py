"""How others name the weights of SAM 3: the authors (SAM 3 and 3.1, one file for finding and for following things through films), and
transformers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from backend.weights.file import Origin, Piece

Rules = tuple[tuple[str, str], ...]

_AUTHORS: Rules = (
    (r"detector\.backbone\.vision_backbone\.(?:sam2|interactive)_convs\.([012])\.(.+)", r"vision.interactive_convs.\1.\2"),
    (r"detector\.backbone\.vision_backbone\.convs\.([012])\.(.+)", r"vision.convs.\1.\2"),
    (r"detector\.backbone\.vision_backbone\.(trunk\.(?:pos_embed|patch_embed\..+|ln_pre\..+))", r"vision.\1"),
    (r"detector\.backbone\.vision_backbone\.(trunk\.blocks\.\d+\.(?:norm\d|mlp\.fc\d|attn\.(?:qkv|proj))\..+)", r"vision.\1"),
    (r"detector\.backbone\.language_backbone\.(resizer\..+)", r"\1"),
    (r"detector\.geometry_encoder\.((?!points_).+)", r"geometry.\1"),
    (r"detector\.transformer\.((?:encoder|decoder)\..+)", r"\1"),
    (r"detector\.segmentation_head\.pixel_decoder\.((?:conv_layers|norms)\.[01]\..+)", r"segmentation.pixel_decoder.\1"),
    (r"detector\.segmentation_head\.((?:mask_predictor|cross_attend_prompt|cross_attn_norm|instance_seg_head)\..+)", r"segmentation.\1"),
    (r"detector\.segmentation_head\.(cross_attend_prompt\.in_proj_(?:weight|bias))", r"segmentation.\1"),
    (r"detector\.dot_prod_scoring\.(.+)", r"scoring.\1"),
)
_AUTHORS_INTERACTIVE: Rules = (
    (r"pe_layer\.positional_encoding_gaussian_matrix", "prompts.waves"),
    (r"((?:mask_downscaling|not_a_point_embed|no_mask_embed)\..+)", r"prompts.\1"),
)
_HALVES = (
    ("tracker.model.interactive_", "tracker.model.interactivity_no_mem_embed"),
    ("tracker.interactive_", "tracker.interactivity_no_mem_embed"),
    ("tracker.model.", "tracker.model.no_mem_embed"),
    ("tracker.", "tracker.no_mem_embed"),
)
"""Where the half for points and boxes is, by its beginning, and the vector that says no earlier picture is remembered. SAM 3.1 has a
decoder for many objects at once beside it, so its own comes first."""

_TRANSFORMERS: Rules = (
    (r"vision_encoder\.backbone\.embeddings\.position_embeddings", "vision.trunk.pos_embed"),
    (r"vision_encoder\.backbone\.embeddings\.patch_embeddings\.projection\.(.+)", r"vision.trunk.patch_embed.proj.\1"),
    (r"vision_encoder\.backbone\.layer_norm\.(.+)", r"vision.trunk.ln_pre.\1"),
    (r"vision_encoder\.backbone\.layers\.(\d+)\.layer_norm(\d)\.(.+)", r"vision.trunk.blocks.\1.norm\2.\3"),
    (r"vision_encoder\.backbone\.layers\.(\d+)\.attention\.([qkv])_proj\.(.+)", r"vision.trunk.blocks.\1.attn.qkv.\3 \2"),
    (r"vision_encoder\.backbone\.layers\.(\d+)\.attention\.o_proj\.(.+)", r"vision.trunk.blocks.\1.attn.proj.\2"),
    (r"vision_encoder\.backbone\.layers\.(\d+)\.(mlp\.fc\d\..+)", r"vision.trunk.blocks.\1.\2"),
    (r"vision_encoder\.neck\.fpn_layers\.([012])\.(.+)", r"vision.convs.\1.\2"),
    (r"tracker_neck\.fpn_layers\.([012])\.(.+)", r"vision.interactive_convs.\1.\2"),
    (r"text_projection\.(.+)", r"resizer.\1"),
    (r"geometry_encoder\.vision_layer_norm\.(.+)", r"geometry.img_pre_norm.\1"),
    (r"geometry_encoder\.prompt_layer_norm\.(.+)", r"geometry.norm.\1"),
    (r"geometry_encoder\.output_layer_norm\.(.+)", r"geometry.encode_norm.\1"),
    (r"geometry_encoder\.layers\.(.+)", r"geometry.encode.\1"),
    (r"geometry_encoder\.(.+)", r"geometry.\1"),
    (r"detr_encoder\.(.+)", r"encoder.\1"),
    (r"detr_decoder\.(.+)", r"decoder.\1"),
    (r"mask_decoder\.pixel_decoder\.((?:conv_layers|norms)\.[01]\..+)", r"segmentation.pixel_decoder.\1"),
    (r"mask_decoder\.mask_embedder\.(.+)", r"segmentation.mask_predictor.mask_embed.\1"),
    (r"mask_decoder\.instance_projection\.(.+)", r"segmentation.instance_seg_head.\1"),
    (r"mask_decoder\.prompt_cross_attn\.(.+)", r"segmentation.cross_attend_prompt.\1"),
    (r"mask_decoder\.prompt_cross_attn_norm\.(.+)", r"segmentation.cross_attn_norm.\1"),
    (r"dot_product_scoring\.(.+)", r"scoring.\1"),
    (r"tracker_model\.prompt_encoder\.shared_embedding\.positional_embedding", "prompts.waves"),
    (r"tracker_model\.prompt_encoder\.point_embed\.weight", "prompts.point_embeddings"),
    (r"tracker_model\.prompt_encoder\.mask_embed\.(.+)", r"prompts.mask_downscaling.\1"),
    (r"tracker_model\.prompt_encoder\.((?:not_a_point|no_mask)_embed\..+)", r"prompts.\1"),
    (r"tracker_model\.mask_decoder\.(.+)", r"mask_decoder.\1"),
    (r"tracker_model\.no_memory_embedding", "no_mem_embed"),
)
_WITHIN: Rules = (
    (r"(vision\.(?:interactive_)?convs\.0)\.scale_layers\.0\.(.+)", r"\1.dconv_2x2_0.\2"),
    (r"(vision\.(?:interactive_)?convs\.0)\.scale_layers\.2\.(.+)", r"\1.dconv_2x2_1.\2"),
    (r"(vision\.(?:interactive_)?convs\.1)\.scale_layers\.0\.(.+)", r"\1.dconv_2x2.\2"),
    (r"(vision\.(?:interactive_)?convs\.\d)\.proj1\.(.+)", r"\1.conv_1x1.\2"),
    (r"(vision\.(?:interactive_)?convs\.\d)\.proj2\.(.+)", r"\1.conv_3x3.\2"),
    (r"decoder\.output_layer_norm\.(.+)", r"decoder.norm.\1"),
    (r"decoder\.presence_layer_norm\.(.+)", r"decoder.presence_token_out_norm.\1"),
    (r"(decoder\.)box_head(\..+)", r"\1bbox_embed\2"),
    (r"(decoder\.)presence_head(\..+)", r"\1presence_token_head\2"),
    (r"(decoder\.)box_rpb_embed_([xy]\..+)", r"\1boxRPB_embed_\2"),
    (r"(decoder\.layers\.\d+)\.self_attn_layer_norm\.(.+)", r"\1.norm2.\2"),
    (r"(decoder\.layers\.\d+)\.text_cross_attn_layer_norm\.(.+)", r"\1.catext_norm.\2"),
    (r"(decoder\.layers\.\d+)\.vision_cross_attn_layer_norm\.(.+)", r"\1.norm1.\2"),
    (r"(decoder\.layers\.\d+)\.mlp_layer_norm\.(.+)", r"\1.norm3.\2"),
    (r"(decoder\.layers\.\d+)\.text_cross_attn\.(.+)", r"\1.ca_text.\2"),
    (r"(decoder\.layers\.\d+)\.vision_cross_attn\.(.+)", r"\1.cross_attn.\2"),
    (r"((?:geometry\.encode|encoder\.layers)\.\d+)\.cross_attn\.(.+)", r"\1.cross_attn_image.\2"),
    (r"((?:geometry\.encode|(?:en|de)coder\.layers)\.\d+)\.mlp\.fc(\d)\.(.+)", r"\1.linear\2.\3"),
    (r"scoring\.text_mlp_out_norm\.(.+)", r"scoring.prompt_mlp.out_norm.\1"),
    (r"scoring\.text_mlp\.(.+)", r"scoring.prompt_mlp.\1"),
    (r"scoring\.text_proj\.(.+)", r"scoring.prompt_proj.\1"),
    (r"scoring\.query_proj\.(.+)", r"scoring.hs_proj.\1"),
    (r"mask_decoder\.upscale_conv1\.(.+)", r"mask_decoder.output_upscaling.0.\1"),
    (r"mask_decoder\.upscale_layer_norm\.(.+)", r"mask_decoder.output_upscaling.1.\1"),
    (r"mask_decoder\.upscale_conv2\.(.+)", r"mask_decoder.output_upscaling.3.\1"),
    (r"(mask_decoder\.transformer\..+)\.mlp\.proj_in\.(.+)", r"\1.mlp.lin1.\2"),
    (r"(mask_decoder\.transformer\..+)\.mlp\.proj_out\.(.+)", r"\1.mlp.lin2.\2"),
    (r"(mask_decoder\.transformer)\.layer_norm_final_attn\.(.+)", r"\1.norm_final_attn.\2"),
    (r"(mask_decoder\..+)\.layers\.0\.(weight|bias)", r"\1.layers.1.\2"),
    (r"(mask_decoder\..+)\.proj_in\.(weight|bias)", r"\1.layers.0.\2"),
    (r"(mask_decoder\..+)\.proj_out\.(weight|bias)", r"\1.layers.2.\2"),
    (r"prompts\.mask_downscaling\.conv1\.(.+)", r"prompts.mask_downscaling.0.\1"),
    (r"prompts\.mask_downscaling\.layer_norm1\.(.+)", r"prompts.mask_downscaling.1.\1"),
    (r"prompts\.mask_downscaling\.conv2\.(.+)", r"prompts.mask_downscaling.3.\1"),
    (r"prompts\.mask_downscaling\.layer_norm2\.(.+)", r"prompts.mask_downscaling.4.\1"),
    (r"prompts\.mask_downscaling\.conv3\.(.+)", r"prompts.mask_downscaling.6.\1"),
)
"""After those of the whole: parts that transformers calls by other names, each at most once."""
_EVERYWHERE: Rules = (
    (r"(.+(?:self_attn|cross_attn|cross_attn_image|ca_text|cross_attend_prompt))\.([qkv])_proj\.(weight|bias)", r"\1.in_proj_\3 \2"),
    (r"(.+)\.o_proj\.(weight|bias)", r"\1.out_proj.\2"),
    (r"(.+)\.layer_norm(\d)\.(weight|bias)", r"\1.norm\2.\3"),
    (r"(.+)\.layer(\d)\.(weight|bias)", r"\1.layers.\2 less one.\3"),
)
NARROW = re.compile(r"(mask_decoder\.transformer\..+)\.in_proj_(weight|bias) ([qkv])")
"""The half for points and boxes keeps its projections apart in both namings."""
TRANSFORMERS_ROOT = "detector_model."


def from_others(keys: Iterable[str]) -> Mapping[str, Origin]:
    """Net name -> the name in a file of the authors or of transformers, or the pieces that are stacked there."""
    listed = list(keys)
    if any(key.startswith("detector.backbone.vision_backbone.trunk.") for key in listed):
        return _from_authors(listed)
    return _from_transformers(listed)


def _from_authors(keys: list[str]) -> Mapping[str, Origin]:
    names: dict[str, Origin] = {}
    start, memory = next((half for half in _HALVES if half[0] + "sam_mask_decoder.conv_s0.weight" in keys), ("", ""))
    points: list[Piece] = []
    for key in sorted(keys):
        name = _renamed(_AUTHORS, key)
        if name is None and start and key.startswith(start + "sam_prompt_encoder."):
            part = key.removeprefix(start + "sam_prompt_encoder.")
            name = _renamed(_AUTHORS_INTERACTIVE, part)
            if part.startswith("point_embeddings."):
                points.append(Piece(key))
        elif name is None and start and key.startswith(start + "sam_mask_decoder."):
            name = "mask_decoder." + key.removeprefix(start + "sam_mask_decoder.")
        if name is not None:
            names[name] = key
    if points and memory in keys:
        names |= {"prompts.point_embeddings": tuple(points), "no_mem_embed": memory}
    return names


def _from_transformers(keys: list[str]) -> Mapping[str, Origin]:
    names: dict[str, Origin] = {}
    pieces: dict[str, dict[str, Piece]] = {}
    for key in keys:
        name = _renamed(_TRANSFORMERS, key.removeprefix(TRANSFORMERS_ROOT))
        if name is None:
            continue
        name = _renamed(_EVERYWHERE, _renamed(_WITHIN, name) or name) or _renamed(_WITHIN, name) or name
        if found := re.search(r"layers\.(\d) less one", name):
            name = name.replace(found[0], f"layers.{int(found[1]) - 1}")
        if narrow := NARROW.fullmatch(name):
            name = f"{narrow[1]}.{narrow[3]}_proj.{narrow[2]}"
        name, _, which = name.partition(" ")
        if which:
            pieces.setdefault(name, {})[which] = Piece(key)
        else:
            names[name] = key
    names |= {name: tuple(found[which] for which in "qkv") for name, found in pieces.items() if len(found) == 3}
    return names


def _renamed(rules: Rules, key: str) -> str | None:
    return next((match.expand(name) for pattern, name in rules if (match := re.fullmatch(pattern, key))), None)

"""Which CLIP image encoder a file holds, read from key names and shapes alone."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping

import torch

from backend.base.errors import BadFile
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.clip_vision.net import ClipVision, VisionSizes
from backend.memory.pool import Loadable
from backend.weights.detect import count
from backend.weights.file import Header, Views, WeightFile, identity
from backend.weights.keymap import MappedNames, Part, Rename, Split, apply

_LAYER = r"transformer\.resblocks\.(\d+)\."
_OURS = r"vision_model.encoder.layers.\1."
OPENCLIP = (
    Rename(r"class_embedding", "vision_model.embeddings.class_embedding"),
    Rename(r"conv1\.weight", "vision_model.embeddings.patch_embedding.weight"),
    Rename(r"positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    Rename(r"ln_pre\.(weight|bias)", r"vision_model.pre_layrnorm.\1"),
    Rename(r"ln_post\.(weight|bias)", r"vision_model.post_layernorm.\1"),
    Rename(r"proj", "visual_projection.weight", transpose=True),
    Split(_LAYER + r"attn\.in_proj_(weight|bias)", tuple(rf"{_OURS}self_attn.{name}_proj.\2" for name in "qkv")),
    Rename(_LAYER + r"attn\.out_proj\.(weight|bias)", _OURS + r"self_attn.out_proj.\2"),
    Rename(_LAYER + r"ln_([12])\.(weight|bias)", _OURS + r"layer_norm\2.\3"),
    Rename(_LAYER + r"mlp\.c_fc\.(weight|bias)", _OURS + r"mlp.fc1.\2"),
    Rename(_LAYER + r"mlp\.c_proj\.(weight|bias)", _OURS + r"mlp.fc2.\2"),
)
"""OpenCLIP's names, as unCLIP checkpoints keep them."""
_LAYER_BACK = r"vision_model\.encoder\.layers\.(\d+)\."
_BACK = (
    (r"vision_model\.embeddings\.class_embedding", "class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.weight", "conv1.weight"),
    (r"vision_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"vision_model\.pre_layrnorm\.(weight|bias)", r"ln_pre.\1"),
    (r"vision_model\.post_layernorm\.(weight|bias)", r"ln_post.\1"),
    (r"visual_projection\.weight", "proj"),
    (_LAYER_BACK + r"self_attn\.[qkv]_proj\.(weight|bias)", r"transformer.resblocks.\1.attn.in_proj_\2"),
    (_LAYER_BACK + r"self_attn\.out_proj\.(weight|bias)", r"transformer.resblocks.\1.attn.out_proj.\2"),
    (_LAYER_BACK + r"layer_norm([12])\.(weight|bias)", r"transformer.resblocks.\1.ln_\2.\3"),
    (_LAYER_BACK + r"mlp\.fc1\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_fc.\2"),
    (_LAYER_BACK + r"mlp\.fc2\.(weight|bias)", r"transformer.resblocks.\1.mlp.c_proj.\2"),
)
PLACES = (
    ("embedder.model.visual.", True), ("cond_stage_model.model.visual.", True), ("visual.", True), ("", False), ("image_encoder.", False),
    ("clip_vision.", False),
)  # fmt: skip
"""(what stands before the names, whether they are OpenCLIP's)"""
POSITIONS = "vision_model.embeddings.position_embedding.weight"
SMALL, SMALL_HEADS, HEADS = 768, 12, 16
"""ViT-B has twelve heads; L, H and bigG have sixteen at any width."""
QUICK_WIDTHS_BELOW = 1280
"""OpenAI's towers (L is 1024 wide) use the quick GELU; OpenCLIP's H (1280) and bigG (1664) the exact one."""


def find(header: Header) -> dict[str, Part]:
    """Net parameter name -> part of the file; empty when there is no image encoder."""
    for prefix, openclip in PLACES:
        mark = prefix + ("conv1.weight" if openclip else POSITIONS)
        if mark not in header or (openclip and prefix + "ln_pre.weight" not in header):
            continue
        inside = [key[len(prefix) :] for key in header if key.startswith(prefix)]
        if openclip:
            parts: Mapping[str, Part] = apply(OPENCLIP, inside).parts
        else:
            known = (key for key in inside if key.startswith(("vision_model.", "visual_projection.")) and not key.endswith("position_ids"))
            parts = {key: Part(key) for key in known}
        return {name: Part(prefix + part.key, part.index, part.parts, part.transpose) for name, part in parts.items()}
    return {}


def to_openclip(names: Iterable[str]) -> dict[str, list[tuple[str, bool]]]:
    """OpenCLIP name -> the parameters it is made of in order, each with whether it is transposed. The way back from `OPENCLIP`."""
    made: dict[str, list[tuple[str, bool]]] = {}
    for name in sorted(names, key=lambda n: [n.find(f".{p}_proj.") < 0 for p in "qkv"]):
        for pattern, target in _BACK:
            if match := re.fullmatch(pattern, name):
                made.setdefault(match.expand(target), []).append((name, target == "proj"))
    return made


def sizes_of(header: Header, openclip: bool, heads: int | None = None, quick: bool | None = None) -> VisionSizes:
    """Sizes from shapes by net parameter name; `heads` and `quick` None: the width tells. Raises KeyError naming what is missing."""
    positions, width = header[POSITIONS].shape
    return VisionSizes(
        width=width,
        layers=count(header, "vision_model.encoder.layers"),
        heads=heads or (SMALL_HEADS if width == SMALL else HEADS),
        mlp=header["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        patch=header["vision_model.embeddings.patch_embedding.weight"].shape[-1],
        positions=positions,
        projection=header["visual_projection.weight"].shape[0] if "visual_projection.weight" in header else None,
        quick=(width < QUICK_WIDTHS_BELOW and not openclip) if quick is None else quick,
    )


def from_file(
    file: WeightFile, dtype: torch.dtype = torch.float32, heads: int | None = None, quick: bool | None = None
) -> VisionHandle | None:
    """The image encoder in `file`, or None where it holds none. Reads no weight. Raises BadFile for one that is incomplete."""
    parts = find(file)
    if not parts:
        return None
    mapped = MappedNames(file, parts)
    try:
        # unCLIP's smaller checkpoint keeps OpenAI's L in OpenCLIP's spelling
        openclip = any(part.parts > 1 for part in parts.values()) and mapped[POSITIONS].shape[1] != 1024
        sizes = sizes_of(mapped, openclip, heads, quick)
        with torch.device("meta"):
            net = ClipVision(sizes)
        odd = next((n for n, p in net.named_parameters() if mapped[n].shape != tuple(p.shape)), None)
    except KeyError as error:
        raise BadFile(
            f"{file.path.name} holds an image encoder without the weight {error.args[0]}.",
            hint="The file is incomplete: fetch it again.",
            file=file.path,
        ) from error
    if odd is not None:
        raise BadFile(
            f"{file.path.name} holds an image encoder whose weight {odd} has the shape {list(mapped[odd].shape)}, which others contradict.",
            hint="The file is damaged.",
            file=file.path,
        )
    return VisionHandle(Loadable(f"{identity(file)}#vision", functools.partial(ClipVision, sizes), Views(mapped), dtype=dtype), sizes)

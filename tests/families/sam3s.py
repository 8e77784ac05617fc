"""Tiny random twins of SAM 3, made by transformers, and their files in its own naming and in the authors'."""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModel
from transformers.models.sam3.configuration_sam3 import Sam3Config, Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3_tracker.configuration_sam3_tracker import Sam3TrackerConfig

from backend.families.sam3.names import from_others
from backend.weights.file import Origin
from backend.weights.save import save_safetensors

GRID, PATCH = 2, 4
SIDE = 3 * GRID * PATCH
HIDDEN, HEADS, TEXT = 32, 4, 64
VOCABULARY = 49408
ATTENTION: dict[str, Any] = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "intermediate_size": 48}
LAYERS: dict[str, Any] = {**ATTENTION, "num_layers": 2, "dropout": 0.0}
VISION: dict[str, Any] = {
    "backbone_config": {
        "model_type": "sam3_vit_model", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 8, "num_attention_heads": 1,
        "image_size": SIDE, "patch_size": PATCH, "window_size": GRID, "pretrain_image_size": GRID * PATCH,
        "global_attn_indexes": [1, 3, 5, 7],
        "rope_parameters": {"rope_type": "axial", "rope_theta": 10000.0},
    },
    "fpn_hidden_size": HIDDEN,
    "backbone_feature_sizes": [[24, 24], [12, 12], [6, 6]],
}  # fmt: skip
TEXTS: dict[str, Any] = {
    "model_type": "clip_text_model", "vocab_size": VOCABULARY, "hidden_size": TEXT, "intermediate_size": 80, "num_hidden_layers": 2,
    "num_attention_heads": 1, "max_position_embeddings": 32, "projection_dim": 24, "hidden_act": "gelu",
}  # fmt: skip
DETECTOR = Sam3Config(
    vision_config={"model_type": "sam3_vision_model", **VISION},
    text_config=TEXTS,
    geometry_encoder_config={**LAYERS, "roi_size": 3},
    detr_encoder_config=LAYERS,
    detr_decoder_config={**LAYERS, "num_queries": 5},
    mask_decoder_config={"hidden_size": HIDDEN, "num_attention_heads": HEADS},
)
TRACKER = Sam3TrackerConfig(
    vision_config={"model_type": "sam3_vision_model", **VISION, "scale_factors": [4.0, 2.0, 1.0]},
    prompt_encoder_config={"hidden_size": HIDDEN, "image_size": SIDE, "patch_size": PATCH},
    mask_decoder_config={
        "hidden_size": HIDDEN, "num_attention_heads": HEADS, "mlp_dim": 48, "iou_head_hidden_dim": HIDDEN, "attention_downsample_rate": 2,
    },
)  # fmt: skip


def regions(features: Tensor, boxes: tuple[Tensor, ...], cells: int) -> Tensor:
    """What torchvision's roi_align gives (not aligned, as many samples as fit), sample by sample."""
    cuts = []
    for image, listed in zip(features, boxes, strict=True):
        for left, top, right, bottom in listed.tolist():
            width, height = max(right - left, 1.0), max(bottom - top, 1.0)
            across, down = math.ceil(width / cells), math.ceil(height / cells)
            cut = torch.zeros(image.shape[0], cells, cells)
            for row in range(cells):
                for column in range(cells):
                    for j in range(down):
                        for i in range(across):
                            y = top + (row + (j + 0.5) / down) * height / cells
                            x = left + (column + (i + 0.5) / across) * width / cells
                            cut[:, row, column] += _at(image, y, x) / (down * across)
            cuts.append(cut)
    return torch.stack(cuts)


def _at(image: Tensor, y: float, x: float) -> Tensor:
    rows, columns = image.shape[1:]
    if not (-1 <= y <= rows and -1 <= x <= columns):
        return torch.zeros(image.shape[0])
    y, x = min(max(y, 0.0), rows - 1), min(max(x, 0.0), columns - 1)
    top, left = int(y), int(x)
    bottom, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
    a, b = y - top, x - left
    above = image[:, top, left] * (1 - b) + image[:, top, right] * b
    return above * (1 - a) + (image[:, bottom, left] * (1 - b) + image[:, bottom, right] * b) * a


# Torchvision is not there (see conftest), so transformers hides these classes where it can.
finding, clicking = (importlib.import_module(f"transformers.models.{name}.modeling_{name}") for name in ("sam3", "sam3_tracker"))
finding.torchvision = SimpleNamespace(ops=SimpleNamespace(roi_align=regions))
AutoModel.register(Sam3ViTConfig, finding.Sam3ViTModel, exist_ok=True)
AutoModel.register(Sam3VisionConfig, finding.Sam3VisionModel, exist_ok=True)


@functools.cache
def twins() -> tuple[Any, Any]:
    """The net that finds, and the one that segments by points and boxes, which sees through the same eyes."""
    torch.manual_seed(0)
    finder, clicker = finding.Sam3Model(DETECTOR).eval(), clicking.Sam3TrackerModel(TRACKER).eval()
    for net in (finder, clicker):
        for key, parameter in net.named_parameters():
            torch.nn.init.normal_(parameter, 1.0 if "norm" in key and key.endswith("weight") else 0.0, 0.1)
    torch.nn.init.normal_(clicker.prompt_encoder.shared_embedding.positional_embedding)
    clicker.shared_image_embedding.positional_embedding.copy_(clicker.prompt_encoder.shared_embedding.positional_embedding)
    clicker.vision_encoder.backbone.load_state_dict(finder.vision_encoder.backbone.state_dict())
    return finder, clicker


def transformers_state() -> dict[str, Tensor]:
    """As transformers publishes both nets, in one file."""
    finder, clicker = twins()
    state = {f"detector_model.{key}": value for key, value in finder.state_dict().items()}
    for key, value in clicker.state_dict().items():
        if key.startswith("vision_encoder.neck."):
            state["tracker_neck." + key.removeprefix("vision_encoder.neck.")] = value
        elif not key.startswith("vision_encoder."):
            state[f"tracker_model.{key}"] = value
    return {key: value.detach().clone().contiguous() for key, value in state.items()}


AUTHORS = (
    ("vision.", "detector.backbone.vision_backbone."),
    ("resizer.", "detector.backbone.language_backbone.resizer."),
    ("geometry.", "detector.geometry_encoder."),
    ("encoder.", "detector.transformer.encoder."),
    ("decoder.", "detector.transformer.decoder."),
    ("segmentation.", "detector.segmentation_head."),
    ("scoring.", "detector.dot_prod_scoring."),
    ("prompts.waves", "tracker.sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    ("prompts.", "tracker.sam_prompt_encoder."),
    ("mask_decoder.", "tracker.sam_mask_decoder."),
    ("no_mem_embed", "tracker.no_mem_embed"),
)
LANGUAGE = "detector.backbone.language_backbone.encoder."


def authors_state(newer: bool = False) -> dict[str, Tensor]:
    """The same in the names of the authors' file of SAM 3, or of SAM 3.1."""
    theirs = transformers_state()
    state: dict[str, Tensor] = {}
    for name, origin in from_others(theirs).items():
        start, begins = next(pair for pair in AUTHORS if name.startswith(pair[0]))
        value = _made(origin, theirs)
        if name == "prompts.point_embeddings":
            state |= {f"tracker.sam_prompt_encoder.point_embeddings.{i}.weight": value[i : i + 1].clone() for i in range(4)}
        elif name == "vision.trunk.pos_embed":
            state[begins + name.removeprefix(start)] = torch.cat([torch.ones(1, 1, 64), value], dim=1)
        else:
            state[begins + name.removeprefix(start).replace("interactive_convs", "sam2_convs")] = value
    state |= _language({k.removeprefix("detector_model.text_encoder."): v for k, v in theirs.items() if ".text_encoder." in k})
    state |= {
        f"detector.backbone.vision_backbone.trunk.blocks.{i}.attn.freqs_cis": torch.ones(4, 32, dtype=torch.complex64) for i in (0, 1)
    }
    state["tracker.maskmem_tpos_enc"] = torch.zeros(7, 1, 1, 8)
    return {_newer(key) if newer else key: value for key, value in state.items()}


def _newer(key: str) -> str:
    for old, new in (("tracker.sam_", "tracker.model.interactive_sam_"), ("tracker.no_mem", "tracker.model.interactivity_no_mem")):
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key.replace("sam2_convs", "interactive_convs")


def _language(text: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The text encoder in OpenCLIP's names."""
    text = {key.removeprefix("text_model."): value for key, value in text.items()}
    state = {
        "token_embedding.weight": text["embeddings.token_embedding.weight"],
        "positional_embedding": text["embeddings.position_embedding.weight"],
        "text_projection": text["text_projection.weight"].T.contiguous(),
        **{f"ln_final.{kind}": text[f"final_layer_norm.{kind}"] for kind in ("weight", "bias")},
    }
    names = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "attn.out_proj": "self_attn.out_proj",
    }
    for i in range(TEXTS["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            layer = f"encoder.layers.{i}."
            joint = [text[f"{layer}self_attn.{which}_proj.{kind}"] for which in "qkv"]
            state[f"transformer.resblocks.{i}.attn.in_proj_{kind}"] = torch.cat(joint)
            state |= {f"transformer.resblocks.{i}.{new}.{kind}": text[f"{layer}{old}.{kind}"] for new, old in names.items()}
    return {LANGUAGE + key: value for key, value in state.items()}


def _made(origin: Origin, state: Mapping[str, Tensor]) -> Tensor:
    if isinstance(origin, str):
        return state[origin]
    return torch.cat([state[piece.key] for piece in origin])


def written(path: Path, kind: str = "3.1") -> Path:
    """A file: "3" and "3.1" in the authors' names, "transformers", or "finder" with one half alone."""
    if kind == "finder":
        state = {key: value for key, value in transformers_state().items() if key.startswith("detector_model.")}
    else:
        state = transformers_state() if kind == "transformers" else authors_state(newer=kind == "3.1")
    save_safetensors(path, state)
    return path

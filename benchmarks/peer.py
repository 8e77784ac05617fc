"""The reference libraries, for comparison.

They import torchvision where they find it, and cannot beside a torch for the CPU alone: its wheel is for CUDA.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_find_spec = importlib.util.find_spec


def _without_torchvision(name: str, package: str | None = None) -> Any:
    return None if name.split(".")[0] == "torchvision" else _find_spec(name, package)


importlib.util.find_spec = _without_torchvision

from diffusers import (  # noqa: E402
    AutoencoderKL,
    FluxTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)

__all__ = ["AutoencoderKL", "FluxTransformer2DModel", "StableDiffusionPipeline", "StableDiffusionXLPipeline", "UNet2DConditionModel"]


def configs_of_sd15(folder: Path) -> None:
    """The configurations of Stable Diffusion 1's parts as a pipeline's folder has them, without weights."""
    unet = {
        "sample_size": 64,
        "cross_attention_dim": 768,
        "attention_head_dim": 8,
        "block_out_channels": [320, 640, 1280, 1280],
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
    }
    parts: dict[str, Any] = {"unet": _UNET | unet, "vae": _VAE, "text_encoder": _TEXT, "scheduler": _SCHEDULER}
    _write(folder, "StableDiffusionPipeline", parts, {"safety_checker": [None, None], "feature_extractor": [None, None]})


def configs_of_sdxl(folder: Path) -> None:
    """The same for Stable Diffusion XL."""
    unet = {
        "sample_size": 128,
        "cross_attention_dim": 2048,
        "attention_head_dim": [5, 10, 20],
        "block_out_channels": [320, 640, 1280],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
        "transformer_layers_per_block": [1, 2, 10],
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 2816,
    }
    second = {
        "architectures": ["CLIPTextModelWithProjection"],
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 20,
        "projection_dim": 1280,
        "hidden_act": "gelu",
    }
    vae = _VAE | {"sample_size": 1024, "scaling_factor": 0.13025}
    parts: dict[str, Any] = {
        "unet": _UNET | unet,
        "vae": vae,
        "text_encoder": _TEXT,
        "text_encoder_2": _TEXT | second,
        "scheduler": _SCHEDULER,
    }
    _write(folder, "StableDiffusionXLPipeline", parts, {"tokenizer_2": ["transformers", "CLIPTokenizer"]})


_UNET = {"_class_name": "UNet2DConditionModel", "in_channels": 4, "out_channels": 4, "layers_per_block": 2}
_VAE = {
    "_class_name": "AutoencoderKL",
    "sample_size": 512,
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
}
_TEXT = {
    "architectures": ["CLIPTextModel"],
    "model_type": "clip_text_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "projection_dim": 768,
}
_SCHEDULER = {
    "_class_name": "PNDMScheduler",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "skip_prk_steps": True,
}


def _write(folder: Path, pipeline: str, parts: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    index: dict[str, Any] = {"_class_name": pipeline, "tokenizer": ["transformers", "CLIPTokenizer"], **others}
    for name, values in parts.items():
        (folder / name).mkdir()
        (folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json")).write_text(json.dumps(values))
        kind = values.get("_class_name")
        index[name] = ["diffusers", kind] if kind else ["transformers", values["architectures"][0]]
    (folder / "model_index.json").write_text(json.dumps(index))

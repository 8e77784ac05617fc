"""The reference libraries, for comparison.

They import torchvision where they find it, and cannot beside a torch for the CPU alone: its wheel is for CUDA.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

_find_spec = importlib.util.find_spec


def _without_torchvision(name: str, package: str | None = None) -> Any:
    return None if name.split(".")[0] == "torchvision" else _find_spec(name, package)


importlib.util.find_spec = _without_torchvision

from diffusers import AutoencoderKL, FluxTransformer2DModel, StableDiffusionPipeline, UNet2DConditionModel  # noqa: E402

__all__ = ["AutoencoderKL", "FluxTransformer2DModel", "StableDiffusionPipeline", "UNet2DConditionModel"]


def configs_of_sd15(folder: Path) -> None:
    """The configurations of Stable Diffusion 1's parts as a pipeline's folder has them, without weights."""
    parts = {
        "unet": {
            "_class_name": "UNet2DConditionModel",
            "sample_size": 64,
            "in_channels": 4,
            "out_channels": 4,
            "layers_per_block": 2,
            "cross_attention_dim": 768,
            "attention_head_dim": 8,
            "block_out_channels": [320, 640, 1280, 1280],
            "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
            "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        },
        "vae": {
            "_class_name": "AutoencoderKL",
            "sample_size": 512,
            "in_channels": 3,
            "out_channels": 3,
            "latent_channels": 4,
            "block_out_channels": [128, 256, 512, 512],
            "down_block_types": ["DownEncoderBlock2D"] * 4,
            "up_block_types": ["UpDecoderBlock2D"] * 4,
            "layers_per_block": 2,
        },
        "text_encoder": {
            "architectures": ["CLIPTextModel"],
            "model_type": "clip_text_model",
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "projection_dim": 768,
        },
        "scheduler": {
            "_class_name": "PNDMScheduler",
            "beta_start": 0.00085,
            "beta_end": 0.012,
            "beta_schedule": "scaled_linear",
            "skip_prk_steps": True,
        },
    }
    for name, values in parts.items():
        (folder / name).mkdir()
        (folder / name / ("scheduler_config.json" if name == "scheduler" else "config.json")).write_text(json.dumps(values))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "scheduler": ["diffusers", "PNDMScheduler"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))

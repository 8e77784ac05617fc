"""Tiny random twins of every kind of Stable Diffusion model, made by the reference libraries."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPVisionConfig, CLIPVisionModelWithProjection

from backend.codecs.kl import names as kl_names
from backend.families.sd import names as unet_names
from backend.weights.save import save_safetensors
from tests.families.published import openclip, openclip_vision, rooted

CROSS, PLAIN, UP_CROSS, UP_PLAIN = "CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"

SD1: dict[str, Any] = {
    "block_out_channels": (32, 64), "down_block_types": (CROSS, PLAIN), "up_block_types": (UP_PLAIN, UP_CROSS), "layers_per_block": 1,
    "cross_attention_dim": 64, "attention_head_dim": 8,
}  # fmt: skip
SD2: dict[str, Any] = {**SD1, "attention_head_dim": (1, 1), "use_linear_projection": True}
SDXL: dict[str, Any] = {
    "block_out_channels": (32, 64), "down_block_types": (PLAIN, CROSS), "up_block_types": (UP_CROSS, UP_PLAIN), "layers_per_block": 1,
    "transformer_layers_per_block": (1, 2), "cross_attention_dim": 128, "attention_head_dim": (1, 1), "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 32 + 6 * 8,
}  # fmt: skip
REFINER: dict[str, Any] = {
    **SDXL, "block_out_channels": (32, 64, 64), "down_block_types": (PLAIN, CROSS, PLAIN), "up_block_types": (UP_PLAIN, UP_CROSS, UP_PLAIN),
    "transformer_layers_per_block": (1, 1, 1), "cross_attention_dim": 64, "attention_head_dim": (1, 1, 1),
    "projection_class_embeddings_input_dim": 32 + 5 * 8,
}  # fmt: skip


UNCLIP: dict[str, Any] = {**SD2, "class_embed_type": "projection", "projection_class_embeddings_input_dim": 64}
X4: dict[str, Any] = {
    **SD2, "down_block_types": (PLAIN, CROSS), "up_block_types": (UP_CROSS, UP_PLAIN), "attention_head_dim": 8, "num_class_embeds": 1000,
    "only_cross_attention": (False, True), "in_channels": 7, "cross_attention_dim": 128,
}  # fmt: skip
SSD: dict[str, Any] = {**SDXL, "mid_block_type": "UNetMidBlock2D", "reverse_transformer_layers_per_block": ((3, 1), 1)}
BK: dict[str, Any] = {**SD1, "down_block_types": (CROSS,) * 2, "up_block_types": (UP_CROSS,) * 2, "mid_block_type": None}
X2_PIPELINE = "StableDiffusionLatentUpscalePipeline"
X2: dict[str, Any] = {
    "act_fn": "gelu", "attention_head_dim": 64, "norm_num_groups": None,
    "block_out_channels": (64, 64, 128, 128), "time_cond_proj_dim": 192,
    "conv_in_kernel": 1, "conv_out_kernel": 1, "cross_attention_dim": 64, "mid_block_type": None, "layers_per_block": 2, "out_channels": 5,
    "resnet_time_scale_shift": "scale_shift", "time_embedding_type": "fourier", "timestep_post_act": "gelu", "in_channels": 8,
    "down_block_types": ("KDownBlock2D",) + ("KCrossAttnDownBlock2D",) * 3,
    "up_block_types": ("KCrossAttnUpBlock2D",) * 3 + ("KUpBlock2D",),
}  # fmt: skip


@dataclass(frozen=True)
class Kind:
    """The reference modules of one model, and where a published single file keeps its text encoders."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    texts: Mapping[str, Any]
    """By folder name: "text_encoder", "text_encoder_2"."""
    prefixes: Mapping[str, str]
    """Of the same in a single file; OpenCLIP's names where it ends in "model."."""
    pipeline: str = "StableDiffusionPipeline"
    scheduler: Mapping[str, Any] = field(default_factory=dict)
    vision: Any = None

    def state(self) -> dict[str, Tensor]:
        """Everything under the names of published single files."""
        unet, vae = self.unet.state_dict(), self.vae.state_dict()
        spelled_unet = unet_names.from_diffusers(unet) if self.pipeline != X2_PIPELINE else {key: key for key in unet}
        state = {f"model.diffusion_model.{name}": unet[key] for name, key in spelled_unet.items()}
        state |= {f"first_stage_model.{name}": part.tensor(vae[part.key]) for name, part in kl_names.from_diffusers(vae).items()}
        for name, prefix in self.prefixes.items():
            spelled = openclip if prefix.endswith(".model.") else rooted
            state |= {prefix + key: value for key, value in spelled(self.texts[name].state_dict()).items()}
        if self.vision is not None:
            state |= {f"embedder.model.visual.{key}": value for key, value in openclip_vision(self.vision.state_dict()).items()}
        return {key: value.contiguous().clone() for key, value in state.items()}

    def single(self, path: Path, extra: Mapping[str, Tensor] | None = None, dtype: torch.dtype = torch.float32) -> Path:
        state = {key: value.to(dtype) for key, value in self.state().items()}
        save_safetensors(path, state | dict(extra or {}), None)
        return path

    def folder(self, path: Path, variant: str | None = None, shard: str = "10GB") -> Path:
        """The diffusers layout."""
        for name, part in {"unet": self.unet, "vae": self.vae, **self.texts}.items():
            part.save_pretrained(path / name, max_shard_size=shard, variant=variant)
        if self.vision is not None:
            self.vision.save_pretrained(path / "image_encoder")
        (path / "scheduler").mkdir()
        (path / "scheduler" / "scheduler_config.json").write_text(json.dumps(dict(self.scheduler)))
        (path / "model_index.json").write_text(json.dumps({"_class_name": self.pipeline}))
        return path


def text(width: int = 64, act: str = "quick_gelu", projection: int | None = None) -> Any:
    config = CLIPTextConfig(
        hidden_size=width, intermediate_size=96, num_hidden_layers=3, num_attention_heads=width // 64, vocab_size=49408, hidden_act=act,
        projection_dim=projection or width,
    )  # fmt: skip
    return lively((CLIPTextModelWithProjection if projection else CLIPTextModel)(config))


def vision(projection: int = 32, act: str = "quick_gelu") -> Any:
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=16, image_size=28, patch_size=14, hidden_act=act,
        projection_dim=projection,
    )  # fmt: skip
    return lively(CLIPVisionModelWithProjection(config))


def vae(factor: int = 2, **config: Any) -> AutoencoderKL:
    levels = factor.bit_length()
    return AutoencoderKL(
        block_out_channels=(128,) * levels, down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels, layers_per_block=1, latent_channels=4, **config,
    ).eval()  # fmt: skip


def lively(net: Any) -> Any:
    """Weights large enough that text and norms matter in the result."""
    for name, parameter in net.named_parameters():
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        torch.nn.init.normal_(parameter, centre, 0.05)
    return net.eval()


@functools.cache
def make(name: str, in_channels: int = 4) -> Kind:
    """A twin of "sd1", "sd2", "sdxl" or "refiner"; the same for the same arguments."""
    torch.manual_seed(0)
    configs = {"sd1": SD1, "sd2": SD2, "sdxl": SDXL, "refiner": REFINER, "lcm": {**SD1, "time_cond_proj_dim": 16}}
    configs |= {"ssd-1b": SSD, "bk-sdm": BK, "unclip": UNCLIP, "x4": X4, "x2": X2}
    net = UNet2DConditionModel(**{"sample_size": 8, "in_channels": in_channels, **configs[name]}).eval()
    if name == "x2":
        return Kind(net, vae(), {"text_encoder": text()}, {"text_encoder": "cond_stage_model.transformer."}, X2_PIPELINE)
    if name in ("sd1", "lcm", "bk-sdm"):
        return Kind(net, vae(), {"text_encoder": text()}, {"text_encoder": "cond_stage_model.transformer."})
    if name == "unclip":
        prefixes = {"text_encoder": "cond_stage_model.model."}
        return Kind(net, vae(), {"text_encoder": text(act="gelu", projection=64)}, prefixes, vision=vision(act="gelu"))
    if name == "x4":
        prefixes = {"text_encoder": "cond_stage_model.model."}
        return Kind(net, vae(scaling_factor=0.08333), {"text_encoder": text(128, act="gelu", projection=64)}, prefixes)
    if name == "sd2":
        return Kind(net, vae(), {"text_encoder": text(act="gelu", projection=64)}, {"text_encoder": "cond_stage_model.model."})
    second = text(64, "gelu", 32)
    if name == "refiner":
        return Kind(net, vae(scaling_factor=0.13025), {"text_encoder_2": second}, {"text_encoder_2": "conditioner.embedders.0.model."})
    prefixes = {"text_encoder": "conditioner.embedders.0.transformer.", "text_encoder_2": "conditioner.embedders.1.model."}
    return Kind(net, vae(scaling_factor=0.13025), {"text_encoder": text(), "text_encoder_2": second}, prefixes, "StableDiffusionXLPipeline")

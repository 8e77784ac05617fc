"""A tiny random Stable Diffusion 1 model made by the reference libraries, as a diffusers folder and as a published-style single file."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from backend.base.paths import Folders
from backend.codecs.kl import names as kl_names
from backend.families.sd import names as unet_names
from backend.memory.device import DeviceFacts
from backend.weights.save import save_safetensors

WIDTH = 64


@dataclass(frozen=True)
class Twins:
    """The reference modules."""

    unet: UNet2DConditionModel
    vae: AutoencoderKL
    text: CLIPTextModel

    def folder(self, path: Path) -> Path:
        """Write the diffusers layout."""
        self.unet.save_pretrained(path / "unet")
        self.vae.save_pretrained(path / "vae")
        self.text.save_pretrained(path / "text_encoder")
        (path / "scheduler").mkdir()
        (path / "scheduler" / "scheduler_config.json").write_text('{"prediction_type": "epsilon"}')
        (path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
        return path

    def single(self, path: Path, dtype: torch.dtype = torch.float32, metadata: dict[str, str] | None = None) -> Path:
        """Write a single file under the published names."""
        state = {key: value.to(dtype) for key, value in self.single_state().items()}
        save_safetensors(path, state, metadata)
        return path

    def single_state(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = {"alphas_cumprod": torch.linspace(0.99, 0.01, 1000)}
        unet = self.unet.state_dict()
        for name, key in unet_names.from_diffusers(unet).items():
            state[f"model.diffusion_model.{name}"] = unet[key]
        vae = self.vae.state_dict()
        for name, part in kl_names.from_diffusers(vae).items():
            state[f"first_stage_model.{name}"] = part.tensor(vae[part.key])
        for key, value in self.text.state_dict().items():
            key = key if key.startswith("text_model.") else f"text_model.{key}"
            state[f"cond_stage_model.transformer.{key}"] = value
        return {key: value.contiguous() for key, value in state.items()}


def make(seed: int = 0, **unet: Any) -> Twins:
    """Random weights, the same for the same seed."""
    return _make(seed, tuple(sorted(unet.items())))


@functools.cache
def _make(seed: int, unet: tuple[tuple[str, Any], ...]) -> Twins:
    torch.manual_seed(seed)
    net = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=8,
        **dict(unet),
    )
    return Twins(net.eval(), make_vae(), make_text())


def make_vae(channels: int = 128) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(channels, channels),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        latent_channels=4,
    ).eval()


def make_text() -> CLIPTextModel:
    config = CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1, vocab_size=49408, hidden_act="quick_gelu"
    )
    return CLIPTextModel(config).eval()


def services(tmp: Path, dtype: torch.dtype | None = None) -> Any:
    """What loading needs: a CPU that computes in float32, or in `dtype` too."""
    half = (dtype,) if dtype is not None else ()
    return SimpleNamespace(device=DeviceFacts(torch.device("cpu"), "test", 1 << 34, half), settings=None, folders=Folders.of(tmp))

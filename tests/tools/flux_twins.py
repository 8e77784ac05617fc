"""Tiny random twins of the files of Flux and its relatives that ready-made graphs ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxControlNetModel
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from torch import nn
from transformers import SiglipVisionConfig, SiglipVisionModel

from backend.weights.save import save_safetensors
from tests.families import fluxes, kinds
from tests.tools import stream_twins

POOLED, SEEN, QWEN = 64, 32, 16
"""Widths of CLIP-L's vector, of SigLIP's and of the language models' states."""


def net(kind: str, **config: Any) -> Callable[[Path], None]:
    more = {"pooled_projection_dim": POOLED, **config} if kind == "Flux" else config
    return lambda path: save_safetensors(path, fluxes.single(kind, fluxes.net(kind, **more)))


def whole(path: Path) -> None:
    """A checkpoint with its text encoders and autoencoder."""
    parts = {
        "model.diffusion_model.": fluxes.single("Flux Schnell", fluxes.net("Flux Schnell", pooled_projection_dim=POOLED)),
        "text_encoders.clip_l.transformer.text_model.": {
            key.removeprefix("text_model."): value for key, value in kinds.text(POOLED).state_dict().items() if "position_ids" not in key
        },
        "text_encoders.t5xxl.transformer.": stream_twins.t5().state_dict(),
        "vae.": stream_twins.kl().state_dict(),
    }
    save_safetensors(path, {prefix + key: value.contiguous() for prefix, state in parts.items() for key, value in state.items()})


def state(build: Callable[[], nn.Module], prefix: str = "") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.manual_seed(0)
        found = build().state_dict()
        start = "" if next(iter(found)).startswith(prefix) else prefix
        save_safetensors(path, {start + key: value.contiguous() for key, value in found.items()})

    return make


def seeing() -> nn.Module:
    config: Any = SiglipVisionConfig
    made: nn.Module = SiglipVisionModel(
        config(hidden_size=SEEN, intermediate_size=48, num_hidden_layers=2, num_attention_heads=16, image_size=28, patch_size=14)
    )
    return made


def steering() -> nn.Module:
    control: Any = FluxControlNetModel
    made: nn.Module = control(**{**fluxes.BASE, "num_layers": 1}, pooled_projection_dim=POOLED, guidance_embeds=True, num_mode=4)
    return made


def style() -> nn.Module:
    redux: Any = ReduxImageEncoder
    made: nn.Module = redux(redux_dim=SEEN, txt_in_features=fluxes.TEXT)
    return made


MAKERS: dict[str, Callable[[Path], None]] = {
    "flux1-dev.safetensors": net("Flux"),
    "flux1-kontext-dev.safetensors": net("Flux"),
    "flux1-fill-dev.safetensors": net("Flux", in_channels=384, out_channels=64),
    "flux1-canny-dev.safetensors": net("Flux", in_channels=128, out_channels=64),
    "flux1-schnell-fp8.safetensors": whole,
    "flux1-redux-dev.safetensors": state(style),
    "sigclip_vision_patch14_384.safetensors": state(seeing, "vision_model."),
    "FLUX.1-dev-Controlnet-Union.safetensors": state(steering),
    "Chroma1-HD.safetensors": net("Chroma"),
    "flux-2-klein-4b.safetensors": net("Flux 2", joint_attention_dim=3 * QWEN, guidance_embeds=False),
    "longcat_image_bf16.safetensors": net("LongCat-Image", joint_attention_dim=QWEN),
}

"""Tiny random twins of the files of Qwen Image that ready-made graphs ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage, AutoencoderKLQwenImage21, QwenImage21Transformer2DModel, QwenImageControlNetModel

from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.lm.vision.net import Qwen2Vision, VisionSizes
from backend.weights.save import save_safetensors
from tests.families import qwen
from tests.tools.language_twins import drawn, prefixed, seeing

TEXT = 16
"""Width of the text encoders' states."""
SMALL: dict[str, Any] = {"dim_mult": [1, 1, 1, 1], "num_res_blocks": 1}


def says(path: Path) -> None:
    sizes = LmSizes(TEXT, 2, 1, 1, 128, 16, 152064, bias=True, sections=(16, 24, 24))
    vision = VisionSizes(width=64, layers=2, mlp=16, patch=14, out=TEXT)
    save_safetensors(path, {**prefixed(drawn(LanguageModel(sizes)), "model."), **prefixed(drawn(Qwen2Vision(vision)), "visual.")})


def net(**config: Any) -> Callable[[Path], None]:
    return lambda path: save_safetensors(path, qwen.net(joint_attention_dim=TEXT, **config).state_dict())


def saved(make: Callable[[], torch.nn.Module]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.manual_seed(5)
        save_safetensors(path, make().state_dict())

    return write


def lines(path: Path) -> None:
    width = 64
    shapes = {"x_rms.weight": (width,), "y_rms.weight": (width,)}
    for name in ("input_proj", "output_proj"):
        shapes |= {f"{name}.weight": (width, width), f"{name}.bias": (width,)}
    state = {f"controlnet_blocks.{i}.{name}": torch.ones(shape) * 0.01 for i in range(2) for name, shape in shapes.items()}
    save_safetensors(path, state | {"img_in.weight": torch.ones(width, 64) * 0.01, "img_in.bias": torch.zeros(width)})


def newer() -> QwenImage21Transformer2DModel:
    return QwenImage21Transformer2DModel(
        num_layers=2, attention_head_dim=32, num_attention_heads=2, context_in_dim=TEXT, axes_dims_rope=(4, 14, 14)
    )


def newer_vae() -> AutoencoderKLQwenImage21:
    steps = {"dim_mult": [1, 1, 1, 1, 1], "temperal_downsample": [False, True, True, True]}
    return AutoencoderKLQwenImage21(base_dim=8, decoder_base_dim=8, num_res_blocks=1, is_residual=True, **steps)


MAKERS: dict[str, Callable[[Path], None]] = {
    "qwen_2.5_vl_7b_fp8_scaled.safetensors": says,
    "qwen3vl_8b_bf16.safetensors": seeing,
    "qwen_image_vae.safetensors": saved(lambda: AutoencoderKLQwenImage(base_dim=8, **SMALL)),
    "qwen_image_layered_vae.safetensors": saved(lambda: AutoencoderKLQwenImage(base_dim=8, input_channels=4, **SMALL)),
    "qwen_image_2.1_vae_bf16.safetensors": saved(newer_vae),
    "qwen_image_2512_bf16.safetensors": net(),
    "qwen_image_edit_2511_bf16.safetensors": net(),
    "qwen_image_layered_bf16.safetensors": net(use_additional_t_cond=True),
    "qwen_image_2.1_bf16.safetensors": saved(newer),
    "Qwen-Image-InstantX-ControlNet-Union.safetensors": saved(
        lambda: QwenImageControlNetModel(**{**qwen.SMALL, "num_layers": 1, "joint_attention_dim": TEXT})
    ),
    "qwen_image_canny_diffsynth_controlnet.safetensors": lines,
}

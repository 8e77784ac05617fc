"""Tiny random twins of the files of Wan that ready-made graphs ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from backend.codecs.wan.net import WanAutoencoder
from backend.codecs.wan.net import WanSizes as VaeSizes
from backend.codecs.wan.spec import net_of
from backend.families.wan.camera import CameraNet, CameraSizes
from backend.families.wan.net import WanNet, WanSizes
from backend.families.wan.sound import SoundNet, SoundSizes
from backend.families.wan.vace import VaceNet, VaceSizes
from backend.weights.save import save_safetensors
from tests.families import kinds
from tests.tools.language_twins import drawn

__all__ = ["MAKERS", "TEXT", "CameraNet", "CameraSizes", "SoundNet", "SoundSizes", "WanNet", "lora", "net", "sizes"]
TEXT = 24
"""Width of the text encoder's states."""


def net(make: Callable[[], nn.Module]) -> Callable[[Path], None]:
    return lambda path: _written(path, drawn(make()))


def sizes(channels: int = 16, shown: int = 16, image: int | None = None, positions: int | None = None) -> WanSizes:
    return WanSizes(channels, shown, 64, 2, 1, 48, TEXT, image, positions)


def says(path: Path) -> None:
    torch.manual_seed(0)
    config = UMT5Config(d_model=TEXT, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=100_352, feed_forward_proj="gated-gelu")
    _written(path, {key: value.half() for key, value in UMT5EncoderModel(config).state_dict().items()})
    Tokenizer(WordLevel({"?": 5}, unk_token="?")).save(str(path.parent / "umt5.tokenizer.json"))


def lora(path: Path) -> None:
    module = "diffusion_model.blocks.0.self_attn.q"
    save_safetensors(path, {f"{module}.lora_down.weight": torch.randn(2, 64), f"{module}.lora_up.weight": torch.randn(64, 2) * 0.01})


def vae(sizes: VaeSizes) -> Callable[[Path], None]:
    def make() -> WanAutoencoder:
        return net_of(sizes)

    return net(make)


def looks(path: Path) -> None:
    state = kinds.vision(32, "gelu").state_dict()
    _written(path, {key: value for key, value in state.items() if not key.endswith("position_ids")})


def _written(path: Path, state: Mapping[str, Tensor]) -> None:
    save_safetensors(path, {key: value.contiguous().clone() for key, value in state.items()})


MAKERS: dict[str, Callable[[Path], None]] = {
    "umt5_xxl_fp8_e4m3fn_scaled.safetensors": says,
    "wan_2.1_vae.safetensors": vae(VaeSizes(8, (1, 1, 1, 1), 1)),
    "wan2.2_vae.safetensors": vae(VaeSizes(8, (1, 1, 1, 1), 1, 48, patch=2, up_channels=8)),
    "clip_vision_h.safetensors": looks,
    "wan2.2_ti2v_5B_fp16.safetensors": net(lambda: WanNet(sizes(48, 48))),
    "wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors": net(lambda: WanNet(sizes(shown=36))),
    "wan2.2_i2v_low_noise_14B_fp8_scaled.safetensors": net(lambda: WanNet(sizes(shown=36))),
    "wan2.1_flf2v_720p_14B_fp16.safetensors": net(lambda: WanNet(sizes(shown=36, image=64, positions=10))),
    "wan2.1_vace_1.3B_fp16.safetensors": net(lambda: VaceNet(VaceSizes(16, 16, 64, 2, 1, 48, TEXT, looking=1))),
}

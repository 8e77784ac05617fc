"""Tiny random twins of the transformers that read language models, for ready-made graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from backend.adapters.patches.z_image_control import ControlSizes, ZImageControl
from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.lm.vision.net import Qwen3Vision, VisionSizes
from backend.families.fibo2.net import Fibo2Net, Fibo2Sizes
from backend.families.hidream.net import HiDreamNet, HiDreamSizes
from backend.families.ideogram4.net import Ideogram4Net, Ideogram4Sizes
from backend.families.krea2.net import Krea2Net, Krea2Sizes
from backend.families.z_image.net import ZImageNet, ZImageSizes
from backend.weights.save import save_safetensors
from tests.families import published
from tests.tools.language_twins import QWEN, drawn, prefixed

WIDTH = 16
"""Of the language models."""
Z_IMAGE = ZImageSizes(16, 32, 2, 48, 2, 1, WIDTH, 16, 16)
HIDREAM = HiDreamSizes(16, 128, 1, 1, 1, 2, 16, 16, 16, 64 + 48, 24, WIDTH)
WIDTHS = (32,) * 4


def net(build: Callable[[], nn.Module]) -> Callable[[Path], None]:
    return lambda path: save_safetensors(path, drawn(build()))


def split(build: Callable[[], nn.Module]) -> Callable[[Path], None]:
    """With queries, keys and values apart, as the published control nets have them."""

    def make(path: Path) -> None:
        state = drawn(build())
        for key in [key for key in state if key.endswith(".attention.qkv.weight")]:
            whole = state.pop(key)
            state |= {key.replace("qkv", f"to_{part}"): cut.contiguous() for part, cut in zip("qkv", whole.chunk(3), strict=True)}
        renamed = {"attention.out.": "attention.to_out.0.", "q_norm": "norm_q", "k_norm": "norm_k"}
        for old, new in renamed.items():
            state = {key.replace(old, new): value for key, value in state.items()}
        save_safetensors(path, state)

    return make


def state(build: Callable[[], nn.Module]) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        torch.manual_seed(0)
        save_safetensors(path, {key: value.contiguous() for key, value in build().state_dict().items()})

    return make


def seeing(path: Path) -> None:
    """Qwen 3 VL with all of its layers, some of which every family reads."""
    vision = VisionSizes(width=64, layers=2, mlp=16, patch=16, out=WIDTH, heads=16, table=16, deep=(0,))
    sizes: dict[str, Any] = {**QWEN, "layers": 36, "sections": (4, 2, 2), "interleaved": True}
    weights = prefixed(drawn(LanguageModel(LmSizes(**sizes))), "model.language_model.")
    save_safetensors(path, {**weights, **prefixed(drawn(Qwen3Vision(vision)), "model.visual.")})


def llama(path: Path) -> None:
    sizes = LmSizes(width=WIDTH, layers=2, heads=1, kv_heads=1, head=128, mlp=16, vocabulary=128256)
    save_safetensors(path, prefixed(drawn(LanguageModel(sizes)), "model."))
    Tokenizer(WordLevel({"?": 5}, unk_token="?")).save(str(path.parent / "llama3.tokenizer.json"))


def clip(width: int, act: str, spelled: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> Callable[[Path], None]:
    config = {"intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 49408}

    def make(path: Path) -> None:
        torch.manual_seed(0)
        text = CLIPTextModelWithProjection(
            CLIPTextConfig(**config, hidden_size=64, projection_dim=width, hidden_act=act, max_position_embeddings=248)
        )
        save_safetensors(path, {key: value.contiguous() for key, value in spelled(text.state_dict()).items()})

    return make


def t5() -> nn.Module:
    config = T5Config(vocab_size=32128, d_model=24, d_kv=8, d_ff=32, num_layers=1, num_heads=2, feed_forward_proj="gated-gelu")
    return T5EncoderModel(config)


def kl() -> nn.Module:
    return AutoencoderKL(
        latent_channels=16, block_out_channels=WIDTHS, layers_per_block=1, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip


MAKERS: dict[str, Callable[[Path], None]] = {
    "z_image_turbo_bf16.safetensors": net(lambda: ZImageNet(Z_IMAGE)),
    "Z-Image-Turbo-Fun-Controlnet-Union.safetensors": split(lambda: ZImageControl(ControlSizes(Z_IMAGE, 16, 1, steered=False))),
    "hidream_i1_dev_bf16.safetensors": net(lambda: HiDreamNet(HIDREAM)),
    "hidream_e1_full_bf16.safetensors": net(lambda: HiDreamNet(HIDREAM)),
    "krea2_turbo_bf16.safetensors": net(lambda: Krea2Net(Krea2Sizes(16, 32, 2, 1, 48, 2, 16, WIDTH, 12, 1, 1, 24, 1, 1))),
    "ideogram4_fp8_scaled.safetensors": net(lambda: Ideogram4Net(Ideogram4Sizes(128, 64, 1, 48, 2, 16, WIDTH * 13))),
    "ideogram4_unconditional_fp8_scaled.safetensors": net(lambda: Ideogram4Net(Ideogram4Sizes(128, 64, 1, 48, 1, 16, WIDTH * 13))),
    "fibo2_dev_bf16.safetensors": net(lambda: Fibo2Net(Fibo2Sizes(128, 32, 2, 48, 6, 1, WIDTH * 3, 16, 16, 64, 1, (1, 2, 3, 4, 5)))),
    "qwen3vl_4b_bf16.safetensors": seeing,
    "qwen3vl_8b_fp8_scaled.safetensors": seeing,
    "llama_3.1_8b_instruct_fp8_scaled.safetensors": llama,
    "clip_l_hidream.safetensors": clip(64, "quick_gelu", published.rooted),
    "clip_g_hidream.safetensors": clip(48, "gelu", published.openclip),
    "t5xxl_fp8_e4m3fn_scaled.safetensors": state(t5),
    "ae.safetensors": state(kl),
    "flux2-vae.safetensors": state(lambda: AutoencoderKLFlux2(block_out_channels=WIDTHS, layers_per_block=1, latent_channels=32)),
    "qwen_image_vae.safetensors": state(lambda: AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)),
}

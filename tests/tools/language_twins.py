"""Tiny random twins of the files with language models that ready-made graphs ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from backend.encoders.lm.net import LanguageModel
from backend.encoders.lm.sizes import LmSizes
from backend.encoders.lm.vision.net import Qwen3Vision, VisionSizes
from backend.families.lumina2.net import Lumina2Net, Lumina2Sizes
from backend.weights.save import save_safetensors
from tests.encoders.sentencepieces import sentencepiece

QWEN = {"width": 16, "layers": 2, "heads": 2, "kv_heads": 1, "head": 16, "mlp": 16, "vocabulary": 151936, "qk_norm": True}
GEMMA = LmSizes(width=24, layers=2, heads=2, kv_heads=1, head=256, mlp=32, vocabulary=300, sandwich=True, gelu=True)


def drawn(net: nn.Module, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    torch.manual_seed(0)
    for name, parameter in net.named_parameters():
        (nn.init.ones_ if "norm" in name and "weight" in name else lambda p: nn.init.normal_(p, std=0.1))(parameter)
    return {name: value.detach().to(dtype) for name, value in net.state_dict().items()}


def prefixed(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


def qwen(path: Path) -> None:
    save_safetensors(path, prefixed(drawn(LanguageModel(LmSizes(**QWEN))), "model."))


def seeing(path: Path) -> None:
    vision = VisionSizes(width=64, layers=2, mlp=16, patch=16, out=16, heads=16, table=16, deep=(0,))
    sizes: dict[str, Any] = {**QWEN, "sections": (4, 2, 2), "interleaved": True}
    state = prefixed(drawn(LanguageModel(LmSizes(**sizes))), "model.language_model.")
    save_safetensors(path, {**state, **prefixed(drawn(Qwen3Vision(vision)), "model.visual.")})


def lumina(path: Path) -> None:
    """A whole checkpoint: net, Gemma 2 with its vocabulary, and the autoencoder of Flux."""
    net = drawn(Lumina2Net(Lumina2Sizes(16, 48, 4, 2, 64, 1, 1, GEMMA.width, 48)))
    vae = AutoencoderKL(latent_channels=16, block_out_channels=(32,), use_quant_conv=False, use_post_quant_conv=False)
    words = torch.frombuffer(bytearray(sentencepiece(2, prefix=False, fold=False)), dtype=torch.uint8)
    save_safetensors(
        path,
        {
            **prefixed(net, "model.diffusion_model."),
            **prefixed(drawn(LanguageModel(GEMMA)), "text_encoders.gemma2_2b.transformer.model."),
            "text_encoders.spiece_model": words,
            **prefixed(dict(vae.state_dict()), "vae."),
        },
    )


MAKERS = {"lumina_2.safetensors": lumina, "qwen_3_4b.safetensors": qwen, "qwen3vl_4b.safetensors": seeing}

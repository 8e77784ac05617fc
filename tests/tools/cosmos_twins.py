"""Tiny random twins of Anima, Cosmos Predict 2 and what they read, for ready-made graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from transformers import T5Config, T5EncoderModel

from backend.families.anima.net import AdapterSizes, AnimaNet, AnimaSizes
from backend.families.cosmos.net import CosmosNet, CosmosSizes
from backend.weights.save import save_safetensors
from tests.golden import test_lllite
from tests.tools.language_twins import QWEN, drawn, prefixed, qwen
from tests.tools.stream_twins import state

ANIMA = AnimaSizes(16, 17, 36, 2, 2, 48, 24, 8, adapter=AdapterSizes(int(QWEN["width"]), 16, 24, 2, 1, 32, 32128))


def net(build: Callable[[], torch.nn.Module]) -> Callable[[Path], None]:
    return lambda path: save_safetensors(path, prefixed(drawn(build()), "net."))


def lite(path: Path) -> None:
    torch.manual_seed(0)
    state = {key: value.contiguous() for key, value in test_lllite.Lite(36, 16).state_dict().items()}
    save_safetensors(path, prefixed(state, "lllite_dit_blocks_0_self_attn_q_proj."))


def text() -> T5EncoderModel:
    return T5EncoderModel(T5Config(d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2, vocab_size=32128, feed_forward_proj="relu"))


MAKERS: dict[str, Callable[[Path], None]] = {
    "anima-base-v1.0.safetensors": net(lambda: AnimaNet(ANIMA)),
    "anima-lllite-depth-1.safetensors": lite,
    "qwen_3_06b_base.safetensors": qwen,
    "cosmos_predict2_2B_t2i.safetensors": net(lambda: CosmosNet(CosmosSizes(16, 17, 36, 2, 2, 48, 24, 8))),
    "oldt5_xxl_fp8_e4m3fn_scaled.safetensors": state(text),
    "wan_2.1_vae.safetensors": state(lambda: AutoencoderKLWan(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)),
}

"""Tiny random twins of SeedVR2's files, the transformers in rotated int8 as the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from backend.codecs.seedvr2.net import SeedVR2Autoencoder, SeedVR2VaeSizes
from backend.families.seedvr2.net import SeedVR2Net, SeedVR2Sizes
from backend.weights.quant.turned import turned
from backend.weights.save import save_safetensors
from tests.golden.recorded import filled

SMALL = SeedVR2Sizes(width=32, heads=2, head=16, layers=3, apart=1, hidden=64)
LARGE = SeedVR2Sizes(width=48, heads=2, head=24, layers=2, apart=2, hidden=64, second=False, rates=2)
VAE = SeedVR2VaeSizes(channels=32, channel_mult=(1, 1, 1, 1), res_blocks=1)
GROUP = 16


def rounded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Matrices of the blocks rotated, in int8 with a scale for each row."""
    made: dict[str, Tensor] = {}
    said = torch.frombuffer(
        bytearray(json.dumps({"format": "int8_tensorwise", "convrot": True, "convrot_groupsize": GROUP}).encode()), dtype=torch.uint8
    )
    for key, value in state.items():
        if not (key.startswith("blocks.") and value.ndim == 2):
            made[key] = value.half()
            continue
        rotated, base = turned(value, GROUP), key.removesuffix("weight")
        scale = rotated.abs().amax(1, keepdim=True) / 127
        made |= {key: (rotated / scale).round().to(torch.int8), base + "weight_scale": scale, base + "comfy_quant": said.clone()}
    return made


def net(sizes: SeedVR2Sizes, **more: Tensor) -> Callable[[Path], None]:
    return lambda path: save_safetensors(path, rounded(filled(SeedVR2Net(sizes))) | more)


MAKERS: dict[str, Callable[[Path], None]] = {
    "seedvr2_3b_int8_convrot.safetensors": net(SMALL),
    "seedvr2_7b_int8_convrot.safetensors": net(LARGE, positive_conditioning=torch.ones(3, 5120), negative_conditioning=torch.ones(4, 5120)),
    "seedvr2_ema_vae_fp16.safetensors": lambda path: save_safetensors(
        path, {key: value.half() for key, value in filled(SeedVR2Autoencoder(VAE)).items()}
    ),
}

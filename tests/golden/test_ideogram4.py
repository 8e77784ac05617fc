"""Ideogram 4 against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Ideogram4Pipeline, Ideogram4Transformer2DModel
from torch import Tensor

from tests.families import nets

CONFIG: dict[str, Any] = {
    "in_channels": 16, "num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 2, "intermediate_size": 80, "adaln_dim": 24,
    "llm_features_dim": 36, "mrope_section": (6, 5, 5),
}  # fmt: skip


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them."""
    ours = {key.replace(".to_out.0.", ".o."): value for key, value in state.items()}
    for key in [key for key in ours if ".to_q." in key]:
        ours[key.replace("to_q", "qkv")] = torch.cat([ours.pop(key.replace("to_q", f"to_{part}")) for part in "qkv"])
    return ours


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = nets.randomised(Ideogram4Transformer2DModel(**CONFIG))
    state = dict(reference.state_dict())
    if spelling == "single":
        state = published(state)
        assert nets.knowing(state) == ["Ideogram 4"]
    model = nets.load(state, tmp_path)
    x, sigma, text = torch.randn(2, 16, 3, 4), torch.tensor([0.8, 0.2]), torch.randn(1, 7, 36)
    tokens = x.unflatten(1, (4, 4)).permute(0, 3, 4, 2, 1).reshape(2, 12, 16)
    for length in (7, 0):
        ids, segments, kinds = Ideogram4Pipeline._prepare_ids([length] * 2, 3, 4, length, torch.device("cpu"))
        features = torch.cat([text[:, :length], torch.zeros(1, 12, 36)], dim=1).expand(2, -1, -1)
        packed = torch.cat([torch.zeros(2, length, 16), tokens], dim=1)
        want = -reference(packed, 1 - sigma, features, ids, segments, kinds, return_dict=False)[0][:, length:]
        got = nets.call(model, x, sigma, {"cross_attn": text if length else torch.zeros_like(text)})
        assert nets.off(got.unflatten(1, (4, 4)).permute(0, 3, 4, 2, 1).reshape(2, 12, 16), want) < nets.NEAR

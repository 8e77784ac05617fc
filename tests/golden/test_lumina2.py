"""Lumina 2 against diffusers: one call of the net, both spellings, adapters' names, whole latents with Gemma 2's encodings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import Lumina2Transformer2DModel
from torch import Tensor

from backend.families import shelf
from backend.families.load import load_diffusion_model
from backend.families.lumina2.net import Lumina2Sizes
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from tests.families import tiny

CONFIG: dict[str, Any] = {
    "hidden_size": 48, "num_layers": 2, "num_refiner_layers": 1, "num_attention_heads": 4, "num_kv_heads": 2, "multiple_of": 16,
    "cap_feat_dim": 24, "axes_dim_rope": [4, 4, 4], "axes_lens": [64, 32, 32],
}  # fmt: skip


def twin() -> Lumina2Transformer2DModel:
    torch.manual_seed(0)
    net = Lumina2Transformer2DModel(**CONFIG)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


SPELLINGS = (
    ("time_caption_embed.caption_embedder", "cap_embedder"), ("time_caption_embed.timestep_embedder.linear_1", "t_embedder.mlp.0"),
    ("time_caption_embed.timestep_embedder.linear_2", "t_embedder.mlp.2"), ("norm_out.linear_1", "final_layer.adaLN_modulation.1"),
    ("norm_out.linear_2", "final_layer.linear"), ("norm1.linear", "adaLN_modulation.1"), ("norm1.norm", "attention_norm1"),
    ("ffn_norm1", "ffn_first"), ("ffn_norm2", "ffn_second"), (".norm1", ".attention_norm1"), (".norm2", ".attention_norm2"),
    ("ffn_first", "ffn_norm1"), ("ffn_second", "ffn_norm2"), ("attn.", "attention."), ("to_out.0", "out"), ("norm_q", "q_norm"),
    ("norm_k", "k_norm"), ("feed_forward.linear_", "feed_forward.w"),
)  # fmt: skip


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them, which keep a norm nobody uses."""
    ours: dict[str, Tensor] = {"norm_final.weight": torch.ones(48)}
    for key, value in state.items():
        name = key
        for theirs, single in SPELLINGS:
            name = name.replace(theirs, single)
        if ".to_q." in name:
            value = torch.cat([state[key.replace("to_q", f"to_{part}")] for part in "qkv"])
            name = name.replace("to_q", "qkv")
        if ".to_k." not in name and ".to_v." not in name:
            ours[name] = value
    return ours


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = twin()
    state = reference.state_dict()
    save_safetensors(tmp_path / "m.safetensors", published(state) if spelling == "single" else state)
    model = load_diffusion_model(tmp_path / "m.safetensors", tiny.services(tmp_path))
    assert model.family.name == "Lumina 2" and model.sizes == Lumina2Sizes(16, 48, 4, 2, 192, 2, 1, 24, 48)
    x, sigma = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3])
    text = torch.randn(2, 9, 24)
    want = reference(x, 1 - sigma, text, torch.ones(2, 9, dtype=torch.bool), return_dict=False)[0]
    told = model.family.inputs([{"cross_attn": text}], model.sizes, x.shape)
    with Pool("cpu").lease(model.leasable()) as net:
        got = model.family.forward(net, x, sigma, told)
    assert (got + want).abs().max() < 1e-5 * want.abs().max()


def test_one_family_knows_it() -> None:
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in published(twin().state_dict()).items()}
    assert [family.name for family in shelf() if family.signature.matches(header)] == ["Lumina 2"]


def test_both_spellings_of_every_weight(tmp_path: Path) -> None:
    """Those that adapters name."""
    state = twin().state_dict()
    save_safetensors(tmp_path / "m.safetensors", state)
    model = load_diffusion_model(tmp_path / "m.safetensors", tiny.services(tmp_path))
    named = [
        origin if isinstance(origin, str) else piece.key
        for origin in model.spellings().values()
        for piece in ([origin] if isinstance(origin, str) else origin)
    ]
    assert sorted(named) == sorted(state)

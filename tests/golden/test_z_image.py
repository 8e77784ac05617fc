"""Z-Image against diffusers: one call of the net, both spellings, adapters, whole latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ZImageTransformer2DModel
from torch import Tensor

from backend.families import shelf
from backend.families.load import load_diffusion_model
from backend.families.z_image.net import ZImageSizes
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from tests.families import tiny

CONFIG: dict[str, Any] = {"dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 24, "axes_dims": [4, 6, 6],
                          "axes_lens": [256, 64, 64]}  # fmt: skip


def twin() -> ZImageTransformer2DModel:
    torch.manual_seed(0)
    net = ZImageTransformer2DModel(**CONFIG)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net.eval()


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them."""
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key.replace("all_x_embedder.2-1.", "x_embedder.").replace("all_final_layer.2-1.", "final_layer.")
        name = name.replace(".to_out.0.", ".out.").replace(".norm_q.", ".q_norm.").replace(".norm_k.", ".k_norm.")
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
    assert model.family.name == "Z-Image" and model.sizes == ZImageSizes(16, 32, 2, 85, 2, 1, 24, 32, 1024)
    x, sigma = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3])
    texts = [torch.randn(1, 40, 24), torch.randn(1, 9, 24)]
    for text in texts:
        want = torch.stack(reference(list(x.unsqueeze(2)), 1 - sigma, [text[0]] * 2, return_dict=False)[0])[:, :, 0]
        told = model.family.inputs([{"cross_attn": text}], model.sizes, x.shape)
        with Pool("cpu").lease(model.leasable()) as net:
            got = model.family.forward(net, x, sigma, {key: value.expand(2, *value.shape[1:]) for key, value in told.items()})
        assert (got + want).abs().max() < 1e-5 * want.abs().max()


def test_one_family_knows_it() -> None:
    header = {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in published(twin().state_dict()).items()}
    assert [family.name for family in shelf() if family.signature.matches(header)] == ["Z-Image"]

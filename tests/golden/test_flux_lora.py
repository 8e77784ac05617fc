"""LoRAs of every spelling on Flux, and those that make a model that follows edges or depth of dev."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.families import kin
from backend.families.flux.names import FLUX
from backend.families.load import load_diffusion_model
from backend.memory.pool import Pool
from backend.weights import lora
from backend.weights.file import Piece
from backend.weights.merge import Weights
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import fluxes, tiny

RANK, STRENGTH = 2, 0.5


def pair(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    return torch.randn(rows, RANK), torch.randn(RANK, columns)


def patched(state: dict[str, Tensor], tmp_path: Path, kind: str = "Flux") -> tuple[Any, lora.Report]:
    save_safetensors(tmp_path / "lora.safetensors", {key: value.contiguous() for key, value in state.items()})
    model = load_diffusion_model(fluxes.saved(kind, tmp_path), tiny.services(tmp_path))
    made, _, report = lora.apply(model, None, open_weights(tmp_path / "lora.safetensors"), STRENGTH, kin=kin)
    assert made is not None
    return made, report


@pytest.mark.parametrize("kind", ["Flux", "Chroma", "Flux 2", "LongCat-Image"])
def test_diffusers_names(kind: str, tmp_path: Path) -> None:
    """Queries, keys, values and the perceptron apart, and shift and scale the other way round."""
    torch.manual_seed(0)
    theirs = {key: value for key, value in fluxes.net(kind).state_dict().items() if value.ndim == 2}
    state: dict[str, Tensor] = {}
    changed: dict[str, Tensor] = {}
    for key, weight in theirs.items():
        up, down = pair(*weight.shape)
        module = f"transformer.{key.removesuffix('.weight')}"
        state |= {f"{module}.lora_B.weight": up, f"{module}.lora_A.weight": down}
        changed[key] = weight + STRENGTH * up @ down
    model, report = patched(state, tmp_path, kind)
    assert report.unmatched == ()
    weights, spelled = Weights.of(model), fluxes.KINDS[kind][2].from_diffusers(fluxes.net(kind).state_dict())
    for name, origin in spelled.items():
        pieces = (Piece(origin),) if isinstance(origin, str) else origin
        if pieces[0].key in changed:
            want = torch.cat([piece.cut(changed[piece.key]) for piece in pieces])
            assert torch.allclose(weights.value(name), want, atol=1e-5), name


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv.lora_{}.weight", "double_blocks.0.img_attn.qkv.weight"),
        ("diffusion_model.single_blocks.1.linear1.lora_{}.weight", "single_blocks.1.linear1.weight"),
        ("double_blocks.1.processor.qkv_lora2.{}.weight", "double_blocks.1.txt_attn.qkv.weight"),
        ("double_blocks.1.processor.proj_lora1.{}.weight", "double_blocks.1.img_attn.proj.weight"),
        ("lora_transformer_transformer_blocks_0_ff_net_2.lora_{}.weight", "double_blocks.0.img_mlp.2.weight"),
    ],
)
def test_other_names(name: str, key: str, tmp_path: Path) -> None:
    plain = fluxes.single("Flux", fluxes.net("Flux"))[key]
    up, down = pair(*plain.shape)
    model, report = patched({name.format("up"): up, name.format("down"): down}, tmp_path)
    assert report.unmatched == () and report.model == 1
    assert torch.allclose(Weights.of(model).value(key), plain + STRENGTH * up @ down, atol=1e-5)


@torch.no_grad()
def test_a_model_that_follows(tmp_path: Path) -> None:
    """The LoRA changes the first layer of a net that is shown a second latent, biases, and replaces norms."""
    torch.manual_seed(0)
    plain = fluxes.single("Flux", fluxes.net("Flux"))
    up, down = pair(64, 128)
    bias, scale = torch.randn(64), torch.randn(32)
    norm = "single_blocks.0.norm.key_norm.scale"
    state = {"img_in.lora_B.weight": up, "img_in.lora_A.weight": down, "img_in.lora_B.bias": bias, norm: scale}
    model, report = patched(state, tmp_path)
    assert report.unmatched == () and model.family.name == "Flux Canny or Depth" and model.sizes.shown == 16
    weights = Weights.of(model)
    wide = torch.nn.functional.pad(plain["img_in.weight"], (0, 64)) + STRENGTH * up @ down
    assert torch.allclose(weights.value("img_in.weight"), wide, atol=1e-5) and torch.equal(weights.value(norm), scale)
    assert torch.allclose(weights.value("img_in.bias"), plain["img_in.bias"] + STRENGTH * bias, atol=1e-6)
    x, seen, context = torch.randn(1, 16, 4, 4), torch.randn(1, 16, 4, 4), torch.randn(1, 5, fluxes.TEXT)
    told = model.family.inputs([{"cross_attn": context, "concat_latent_image": seen}], model.sizes, x.shape)
    with Pool("cpu").lease(model.leasable()) as net:
        out = model.family.forward(net, x, torch.tensor([0.5]), told)
        other = model.family.forward(net, x, torch.tensor([0.5]), told | {"shown": torch.zeros_like(seen)})
    assert out.shape == x.shape and (out - other).abs().max() > 1e-3


def test_of_another_kind(tmp_path: Path) -> None:
    up, down = pair(320, 768)
    state = {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_up.weight": up,
             "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k.lora_down.weight": down}  # fmt: skip
    with pytest.raises(BadInput, match=r"is for SD 1\.x, the model is Flux\."):
        patched(state, tmp_path)
    assert FLUX.theirs("nothing") is None

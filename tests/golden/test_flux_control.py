"""ControlNets for Flux against diffusers: what they add, block by block, and where the model adds it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.codecs.kl import names as kl_names
from backend.control.flux import spec
from backend.control.load import load_control
from backend.families.load import load_diffusion_model, load_vae
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from nodes.controlnet import set_union_control_net_type
from tests.families import fluxes, tiny
from tests.golden.test_flux import CONTEXT, TIME, X, ids, packed
from tests.nodes.bench import Bench

Net: Any = diffusers.FluxControlNetModel
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "union": {"num_mode": 4},
    "inpainting": {"num_single_layers": 0},
    "pixels": {"conditioning_embedding_channels": 16, "num_single_layers": 0, "patch_size": 2},
}


def twin(kind: str) -> Any:
    torch.manual_seed(1)
    config = {**fluxes.BASE, "pooled_projection_dim": fluxes.POOLED, "guidance_embeds": True, "num_layers": 1, "num_single_layers": 1}
    net = Net(**{**config, **KINDS[kind]})
    if kind == "inpainting":  # told where the hole is, too
        net.controlnet_x_embedder = torch.nn.Linear(68, 64)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return net.eval()


def xlabs(path: Path, state: dict[str, Tensor]) -> None:
    """The file as XLabs publishes it."""
    save_safetensors(path, state)
    named = spec.under_our_names(open_weights(path))
    assert named is not None
    made = {key: named.tensor(key).contiguous().clone() for key in named}
    save_safetensors(path.with_name("xlabs.safetensors"), made)


@pytest.mark.parametrize(("kind", "file"), [("plain", "c"), ("union", "c"), ("inpainting", "c"), ("pixels", "c"), ("pixels", "xlabs")])
@torch.no_grad()
def test_controls(kind: str, file: str, tmp_path: Path) -> None:
    theirs, services, pool = twin(kind), tiny.services(tmp_path), Pool("cpu")
    xlabs(tmp_path / "c.safetensors", theirs.state_dict())
    control = load_control(tmp_path / f"{file}.safetensors", services)
    model = load_diffusion_model(fluxes.saved("Flux", tmp_path), services)
    hint, keep = torch.rand(1, 48, 64, 3), (torch.rand(1, 1, 6, 8) > 0.5).float()
    codec: Any = diffusers.AutoencoderKL
    torch.manual_seed(0)
    config = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
    autoencoder = codec(
        block_out_channels=(32,) * 4, layers_per_block=1, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False, **config
    )
    state = autoencoder.state_dict()
    save_safetensors(
        tmp_path / "vae", {name: part.tensor(state[part.key]).contiguous() for name, part in kl_names.from_diffusers(state).items()}
    )
    vae = load_vae(tmp_path / "vae", services)
    applied = control.applied(hint, 0.5, vae=None if kind == "pixels" else vae, keep=keep if kind == "inpainting" else None)
    if kind == "union":
        applied = replace(applied, types=(2,))
    pooled, scale = torch.randn(1, fluxes.POOLED), torch.tensor([2.5])
    inputs = {"context": CONTEXT, "y": pooled, "guidance": scale}
    told = {"cond_or_uncond": [0]}
    with applied.bind(model, pool) as running:
        residuals = running.get_control(X, TIME, inputs, 1, told)
    shown = hint.movedim(-1, 1) * 2 - 1
    if kind != "pixels":
        seen = (vae.encode(hint, pool) - 0.1159) * 0.3611
        shown = packed(torch.cat([seen, keep], 1) if kind == "inpainting" else seen)
    mode = torch.tensor([[2]]) if kind == "union" else None
    out = theirs(packed(X), shown, mode, 0.5, CONTEXT, pooled, TIME, ids(3, 4), torch.zeros(5, 3), scale)
    made = (out.controlnet_block_samples, out.controlnet_single_block_samples)
    assert residuals is not None
    repeats = kind == "pixels"
    for got, want in ((residuals["input"], made[0]), (residuals.get("output"), made[1])):
        assert (got is None or not got) == (want is None or not want)
        assert not want or max(float((each - want[0]).abs().max()) for each in got or () if each is not None) < 1e-5
    with pool.lease(model.leasable()) as net:
        got_net = model.family.forward(net, X, TIME, {**inputs, "control": residuals})
    want_net = fluxes.net("Flux")(
        packed(X), CONTEXT, pooled, TIME, ids(3, 4), torch.zeros(5, 3), scale, controlnet_block_samples=made[0],
        controlnet_single_block_samples=made[1], controlnet_blocks_repeat=repeats,
    ).sample  # fmt: skip
    assert (packed(got_net) - want_net).abs().max() < 1e-5


def test_wrong_models(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "c.safetensors", twin("plain").state_dict())
    services = tiny.services(tmp_path)
    control = load_control(tmp_path / "c.safetensors", services)
    other = load_diffusion_model(fluxes.saved("LongCat-Image", tmp_path), services)
    with pytest.raises(BadInput, match="is for Flux, the model is LongCat-Image"), control.bind(other, Pool("cpu")):
        pass
    with pytest.raises(BadInput, match="one kind"):
        set_union_control_net_type(Bench(tmp_path / "h").context(), control_net=control, type="depth")
    state = twin("plain").state_dict()
    del state["controlnet_single_blocks.0.weight"]
    save_safetensors(tmp_path / "d.safetensors", state)
    with pytest.raises(BadFile, match=r"controlnet_single_blocks\.0\.weight is missing"):
        load_control(tmp_path / "d.safetensors", services)

"""ControlNets for Qwen Image through file, loader and sampling loop, against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageControlNetModel
from torch import Tensor, nn

from backend.base.errors import BadInput, UnknownModel
from backend.control.control import Control
from backend.control.load import load_control
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families.load import load_diffusion_model, load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import qwen, tiny

POOL = Pool("cpu")


def control_net(extra: int = 0) -> QwenImageControlNetModel:
    torch.manual_seed(12)
    net = QwenImageControlNetModel(**{**qwen.SMALL, "num_layers": 1}, extra_condition_channels=extra).eval()
    for layer in (net.controlnet_x_embedder, *net.controlnet_blocks):
        nn.init.normal_(layer.weight, std=0.05)
    return net


def one_step(model: ModelHandle, noise: Tensor, text: Tensor, control: Control) -> Tensor:
    """The velocity at sigma 1."""
    entry = [[text, {"control": control, "control_apply_to_uncond": True}]]
    guider = CfgGuider(model, entry, entry, 1.0)
    made = sample(guider, noise, torch.zeros_like(noise), solver("euler"), torch.tensor([1.0, 0.5]), pool=POOL)
    return (noise - model.family.latent.process_in(made) * 0.5) / 0.5


@pytest.mark.parametrize("hole", [False, True])
@torch.no_grad()
def test_against_diffusers(tmp_path: Path, hole: bool) -> None:
    theirs, net = qwen.net(), control_net(4 if hole else 0)
    vae_net = AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    vae_net.save_pretrained(tmp_path / "vae")
    save_safetensors(tmp_path / "control.safetensors", net.state_dict())
    services = tiny.services(tmp_path)
    model = load_diffusion_model(qwen.single(theirs.state_dict(), tmp_path / "m.safetensors"), services)
    control, vae = load_control(tmp_path / "control.safetensors", services), load_vae(tmp_path / "vae", services)
    assert getattr(control.source, "takes_mask", None) is hole

    picture, noise, text = torch.rand(1, 64, 48, 3), torch.randn(1, 16, 1, 8, 6), torch.randn(1, 5, qwen.TEXT)
    keep = torch.ones(1, 1, 64, 48)
    keep[:, :, 16:40, 8:32] = 0
    applied = control.applied(picture, 0.7, vae=vae, keep=keep if hole else None)
    made = one_step(model, noise, text, applied)

    shown = model.family.latent.process_in(vae_net.encode((picture * 2 - 1).movedim(-1, 1).unsqueeze(2)).latent_dist.mean)
    if hole:
        shown = torch.cat([shown, keep[:, :, None, ::8, ::8]], dim=1)
    common: dict[str, Any] = {
        "encoder_hidden_states": text, "timestep": torch.ones(1), "img_shapes": [[(1, 4, 3)]], "hidden_states": qwen.packed(noise)
    }  # fmt: skip
    residuals = net(controlnet_cond=qwen.packed(shown), conditioning_scale=0.7, **common).controlnet_block_samples
    expected = theirs(controlnet_block_samples=residuals, **common).sample
    assert (qwen.packed(made) - expected).abs().max() < 1e-4
    assert (qwen.packed(made) - theirs(**common).sample).abs().max() > 1e-3


def test_what_does_not_belong_together_is_told(tmp_path: Path) -> None:
    services = tiny.services(tmp_path)
    state = control_net().state_dict()
    save_safetensors(tmp_path / "control.safetensors", state)
    control = load_control(tmp_path / "control.safetensors", services)
    picture, noise, text = torch.rand(1, 32, 32, 3), torch.randn(1, 16, 1, 4, 4), torch.randn(1, 5, qwen.TEXT)
    model = load_diffusion_model(qwen.single(qwen.net().state_dict(), tmp_path / "m.safetensors"), services)
    with pytest.raises(BadInput, match="no VAE was given"):
        one_step(model, noise, text, control.applied(picture, 1.0))
    vae = load_vae(tiny.make().single(tmp_path / "sd.safetensors"), services)
    with pytest.raises(BadInput, match=r"makes latents of 4 channels.*16"):
        one_step(model, noise, text, control.applied(picture, 1.0, vae=vae))
    other = load_diffusion_model(tmp_path / "sd.safetensors", services)
    with pytest.raises(BadInput, match=r"is for Qwen Image, the model is Stable Diffusion 1"):
        control.source.loadable(other)
    with pytest.raises(UnknownModel, match="is a ControlNet, not a diffusion model"):
        load_diffusion_model(tmp_path / "control.safetensors", services)

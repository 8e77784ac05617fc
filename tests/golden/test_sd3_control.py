"""ControlNets of Stable Diffusion 3 against diffusers: residuals, and what steering them makes of the net's answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, SD3ControlNetModel
from torch import Tensor

from backend.base.errors import BadInput
from backend.codecs.kl.spec import from_file
from backend.control.load import load_control
from backend.diffusion.latent import SD3
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import nets, tiny
from tests.golden.test_sd3 import NORMED, SHARED, published, twin

ALONE: dict[str, Any] = {
    "joint_attention_dim": None,
    "use_pos_embed": False,
    "pos_embed_type": None,
    "force_zeros_for_pooled_projection": False,
}
KINDS: dict[str, dict[str, Any]] = {
    "instantx": {**NORMED, "dual_attention_layers": (0,)},
    "alimama": {**NORMED, "extra_conditioning_channels": 1},
    "stability": {"attention_head_dim": 64, "num_attention_heads": 1, "caption_projection_dim": 64, **ALONE},
}


def stability(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as Stability's single files have them."""
    renamed = {
        "norm1.linear": "adaLN_modulation.1", "attn.to_out.0": "attn.proj", "ff.net.0.proj": "mlp.fc1", "ff.net.2": "mlp.fc2",
        "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
        "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    }  # fmt: skip
    ours: dict[str, Tensor] = {}
    for key, value in state.items():
        name = next((key.replace(a, b) for a, b in renamed.items() if a in key), key)
        if ".to_q." in key:
            name, value = key.replace("to_q", "qkv"), torch.cat([state[key.replace("to_q", f"to_{part}")] for part in "qkv"])
        if ".to_k." not in key and ".to_v." not in key:
            ours[name] = value
    return ours


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_residuals(kind: str, tmp_path: Path) -> None:
    """Two blocks steer a net of three: the first two of its blocks, never the last."""
    reference = nets.randomised(SD3ControlNetModel(**{**SHARED, "num_layers": 2, **KINDS[kind]}))
    base = twin("3" if kind == "stability" else "3.5 medium")
    model = nets.load(published(base), tmp_path)
    torch.manual_seed(1)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    vae = AutoencoderKL(block_out_channels=(128, 128), layers_per_block=1, latent_channels=16, **blocks).eval()
    vae.save_pretrained(tmp_path / "vae")
    coder = from_file(open_weights(tmp_path / "vae"), torch.float32)
    assert coder is not None
    x, picture, keep = torch.randn(2, 16, 6, 8), torch.rand(1, 48, 64, 3), torch.ones(1, 1, 48, 64)
    keep[..., 16:32, :32] = 0
    text, pooled, sigma = torch.randn(1, 5, 96), torch.randn(1, 80), torch.tensor([0.6, 0.6])
    seen = vae.encode(torch.nn.functional.interpolate(picture.movedim(-1, 1), (12, 16), mode="nearest-exact") * 2 - 1).latent_dist.mean
    shift = 0 if kind == "instantx" else 0.0609
    shown = (seen - shift) * 1.5305
    shown = torch.cat([shown, keep[:, :, 4::8, 4::8]], 1) if kind == "alimama" else shown
    hidden = base.pos_embed(x) if kind == "stability" else x
    told = {"encoder_hidden_states": None if kind == "stability" else text.expand(2, -1, -1)}
    vector = pooled.expand(2, -1) * (kind == "stability")
    (want,) = reference(hidden, shown.expand(2, -1, -1, -1), pooled_projections=vector, timestep=sigma * 1000, return_dict=False, **told)
    spelled = [dict(reference.state_dict())] + ([stability(dict(reference.state_dict()))] if kind == "stability" else [])
    for state in spelled:
        path = tmp_path / "c.safetensors"
        save_safetensors(path, {key: value.contiguous() for key, value in state.items()})
        model = replace(model, family=model.family.with_latent(replace(SD3, factor=2)))
        control = load_control(path, tiny.services(tmp_path)).applied(picture, 1.0, vae=coder, keep=keep)
        inputs = {"context": text.expand(2, -1, -1), "y": pooled.expand(2, -1)}
        with control.bind(model, Pool("cpu")) as running:
            made = running.get_control(x, sigma, inputs, 1, {"cond_or_uncond": [0]})
        assert made is not None
        got = made["output"]
        assert len(got) == 3 and got[2] is None
        assert max(nets.off(one, want[0]) for one in got[:2]) < nets.NEAR  # two residuals for three blocks
        answered = nets.call(model, x, sigma, {"cross_attn": text, "pooled_output": pooled, "unused": None})
        steered = base(x, text.expand(2, -1, -1), pooled.expand(2, -1), sigma * 1000, list(want), return_dict=False)[0]
        with Pool("cpu").lease(model.leasable()) as net:
            mine = model.family.forward(net, x, sigma * 1000, {**inputs, "control": made})
        assert nets.off(mine, steered) < nets.NEAR < nets.off(answered, steered)


def test_the_wrong_model_is_named(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    save_safetensors(path, nets.randomised(SD3ControlNetModel(**{**SHARED, "num_layers": 1, **KINDS["instantx"]})).state_dict())
    control = load_control(path, tiny.services(tmp_path))
    with pytest.raises(BadInput, match="of width 32, the model is Stable Diffusion 3 of width 64"):
        control.source.loadable(nets.load(published(twin("3")), tmp_path))

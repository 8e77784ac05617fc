"""Krea 2 against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, Krea2Pipeline, Krea2Transformer2DModel

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.latent import WAN
from backend.diffusion.sample import prepare_noise
from backend.families.krea2.names import to_diffusers
from backend.families.krea2.net import Krea2Net, Krea2Sizes
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from backend.nn.patchify import to_picture, to_tokens
from tests.families import nets, spoken, tiny

CONFIG: dict[str, Any] = {
    "in_channels": 64, "num_layers": 2, "attention_head_dim": 16, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 40, "timestep_embed_dim": 16, "text_hidden_dim": 24, "num_text_layers": 3,
    "text_num_attention_heads": 2, "text_num_key_value_heads": 2,
    "text_intermediate_size": 20, "num_layerwise_text_blocks": 1, "num_refiner_text_blocks": 1, "axes_dims_rope": (4, 6, 6),
}  # fmt: skip
SIZES = Krea2Sizes(16, 64, 4, 2, 40, 2, 16, 24, 3, 2, 2, 20, 1, 1, rows=True)


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = nets.randomised(Krea2Transformer2DModel(**CONFIG))
    state = dict(reference.state_dict())
    if spelling == "single":
        with torch.device("meta"):
            names = to_diffusers(SIZES, dict(Krea2Net(SIZES).named_parameters()))
        state = {ours: state[theirs].flatten() if ours.endswith(".mod.lin") else state[theirs] for ours, theirs in names.items()}
        assert nets.knowing(state) == ["Krea 2"]
    model = nets.load(state, tmp_path)
    assert model.sizes == (SIZES if spelling == "diffusers" else Krea2Sizes(*list(vars(SIZES).values())[:-1]))
    x, sigma = torch.randn(2, 16, 1, 8, 6), torch.tensor([0.8, 0.2])
    text, mask = torch.randn(1, 7, 3, 24), torch.tensor([[1, 1, 1, 1, 0, 0, 1]]).bool()
    ids = torch.cat([torch.zeros(7, 3), torch.stack([torch.zeros(12), torch.arange(12) // 3, torch.arange(12) % 3], dim=1)])
    for known in (None, mask):
        told = None if known is None else known.expand(2, -1)
        tokens = to_tokens(x[:, :, 0], 2, channels_last=False)
        want = reference(tokens, text.expand(2, -1, -1, -1), sigma, ids, told, return_dict=False)[0]
        got = nets.call(model, x, sigma, {"cross_attn": text.flatten(2)} | ({} if known is None else {"attention_mask": known}))
        assert nets.off(got[:, :, 0], to_picture(want, 8, 6, 2, channels_last=False)) < nets.NEAR


def test_whole_latent(tmp_path: Path) -> None:
    """From a prompt, through a folder in the layout of diffusers: text, net, scheduler."""
    net = nets.randomised(Krea2Transformer2DModel(**{**CONFIG, "num_text_layers": 12}), std=0.1)
    vae = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    pipeline = Krea2Pipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae, spoken.qwen3_vl(), spoken.qwen_words(), net, is_distilled=True
    )
    pipeline.save_pretrained(tmp_path / "m")
    pipeline.set_progress_bar_config(disable=True)
    found = load_checkpoint(tmp_path / "m", tiny.services(tmp_path))
    assert found.model is not None and found.clip is not None and found.vae is not None and found.unmatched == ()
    noise = prepare_noise(torch.zeros(1, 16, 1, 4, 6), 7)
    told = {
        "prompt": "a red cat",
        "negative_prompt": "blurry, dark",
        "guidance_scale": 2.0,
        "num_inference_steps": 3,
        "max_sequence_length": 40,
    }
    packed = to_tokens(noise[:, :, 0], 2, channels_last=False)
    want = pipeline(**told, latents=packed, height=32, width=48, output_type="latent").images
    positive, negative = (found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry, dark"))
    got = nets.solved(CfgGuider(found.model, positive, negative, 3.0), noise, pipeline.scheduler.sigmas)
    assert nets.apart(got[:, :, 0], to_picture(want, 4, 6, 2, channels_last=False)) < 1e-4 and want.abs().max() < 20


@torch.no_grad()
def test_pictures_to_look_at(tmp_path: Path) -> None:
    """References lie one behind the other; told that they are clean, or (at a time of nought, where that is the same) not."""
    reference = nets.randomised(Krea2Transformer2DModel(**CONFIG))
    model = nets.load(dict(reference.state_dict()), tmp_path)
    x, seen, text = torch.randn(1, 16, 1, 8, 6), [torch.randn(1, 16, 1, 4, 6), torch.randn(1, 16, 1, 6, 4)], torch.randn(1, 7, 3, 24)
    cells = [
        torch.cartesian_prod(torch.tensor([float(i)]), torch.arange(h / 2), torch.arange(w / 2))
        for i, (h, w) in enumerate([(8, 6), (4, 6), (6, 4)])
    ]
    tokens = torch.cat([to_tokens(picture[:, :, 0], 2, channels_last=False) for picture in (x, *seen)], dim=1)
    cond = {"cross_attn": text.flatten(2), "reference_latents": [WAN.process_out(picture) for picture in seen]}
    for sigma, method in ((0.6, "index"), (0.0, "index"), (0.0, "index_timestep_zero")):
        want = reference(tokens, text, torch.tensor([sigma]), torch.cat([torch.zeros(7, 3), *cells]), None, return_dict=False)[0][:, :12]
        got = nets.call(model, x, torch.tensor([sigma]), cond | {"reference_latents_method": method})
        assert nets.off(got[:, :, 0], to_picture(want, 8, 6, 2, channels_last=False)) < nets.NEAR
    told = nets.call(model, x, torch.tensor([0.6]), cond)
    assert nets.off(told, nets.call(model, x, torch.tensor([0.6]), cond | {"reference_latents_method": "index"})) > 1e-3

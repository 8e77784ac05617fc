"""Ideogram 4 against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Ideogram4Pipeline, Ideogram4Transformer2DModel
from diffusers.pipelines.ideogram4.pipeline_ideogram4 import _logit_normal_sigmas, _resolution_aware_mu
from torch import Tensor

from backend.diffusion.guiders import TwoModelGuider
from backend.diffusion.sample import prepare_noise
from backend.families.load import load_text_encoders
from backend.memory.pool import Pool
from tests.families import nets, spoken, tiny

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


def packed(x: Tensor) -> Tensor:
    """Our latents as the tokens that diffusers has: cells before channels."""
    return x.unflatten(1, (-1, 4)).permute(0, 3, 4, 2, 1).flatten(3).flatten(1, 2)


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
    tokens = packed(x)
    for length in (7, 0):
        ids, segments, kinds = Ideogram4Pipeline._prepare_ids([length] * 2, 3, 4, length, torch.device("cpu"))
        features = torch.cat([text[:, :length], torch.zeros(1, 12, 36)], dim=1).expand(2, -1, -1)
        row = torch.cat([torch.zeros(2, length, 16), tokens], dim=1)
        want = -reference(row, 1 - sigma, features, ids, segments, kinds, return_dict=False)[0][:, length:]
        got = nets.call(model, x, sigma, {"cross_attn": text if length else torch.zeros_like(text)})
        assert nets.off(packed(got), want) < nets.NEAR


def test_whole_latent(tmp_path: Path) -> None:
    """From a prompt, with the second net that reads nothing."""
    config = {**CONFIG, "in_channels": 128, "llm_features_dim": 24 * 13}
    both = [nets.randomised(Ideogram4Transformer2DModel(**config), seed, 0.1) for seed in (0, 1)]
    text, words = spoken.qwen3_vl(), spoken.qwen_words()
    vae = AutoencoderKLFlux2(block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=2, latent_channels=32)
    pipeline = Ideogram4Pipeline(FlowMatchEulerDiscreteScheduler(), vae, text, words, *both)
    pipeline.set_progress_bar_config(disable=True)
    noise = prepare_noise(torch.zeros(1, 128, 3, 4), 7)
    told = {"prompt": "a red cat", "guidance_scale": 3.0, "guidance_schedule": None, "num_inference_steps": 3, "max_sequence_length": 40}
    first = float(_logit_normal_sigmas(3, _resolution_aware_mu(48, 64, 0.0), 1.5)[0])  # noise begins at one there, at sigma here
    want = pipeline(**told, latents=packed(noise) * first, height=48, width=64, output_type="latent").images

    text.save_pretrained(tmp_path / "text")
    clip = load_text_encoders([tmp_path / "text"], tiny.services(tmp_path), "ideogram4")
    models = []
    for name, net in zip(("good", "bad"), both, strict=True):
        (tmp_path / name).mkdir()
        models.append(nets.load(published(dict(net.state_dict())), tmp_path / name))
    positive = clip.conditioning("a red cat", Pool("cpu"))
    zeros = [[torch.zeros_like(positive[0][0]), {}]]
    got = nets.solved(TwoModelGuider(models[0], positive, zeros, 3.0, models[1]), noise, pipeline.scheduler.sigmas)
    assert nets.apart(packed(got), want) < 1e-4 and want.abs().max() < 20

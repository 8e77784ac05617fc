"""Fibo 2 against diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLFlux2, BriaFibo2Pipeline, BriaFibo2Transformer2DModel, FlowMatchEulerDiscreteScheduler
from diffusers.models.transformers.transformer_bria_fibo2 import compute_gist_count

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.sample import prepare_noise
from backend.families.fibo2.net import gists
from backend.families.load import load_text_encoders
from backend.memory.pool import Pool
from tests.families import nets, spoken, tiny

CONFIG: dict[str, Any] = {
    "in_channels": 4, "dim": 32, "n_layers": 3, "n_refiner_layers": 1, "n_heads": 2, "cap_feat_dim": 24, "injection_layer_ids": (1, 2),
    "perceiver_num_layers": 1, "min_num_gist_tokens": 64, "max_num_gist_tokens": 64, "axes_dims": (4, 6, 6), "axes_lens": (256, 64, 64),
}  # fmt: skip


@pytest.mark.parametrize("pictures", [0, 2])
@torch.no_grad()
def test_one_call(pictures: int, tmp_path: Path) -> None:
    reference = nets.randomised(BriaFibo2Transformer2DModel(**CONFIG))
    state = dict(reference.state_dict())
    assert nets.knowing(state) == ["Fibo 2"]
    model = nets.load(state, tmp_path)
    assert model.sizes.injected == (1, 2) and model.sizes.gists == 64
    x, sigma, text = torch.randn(2, 4, 6, 8), torch.tensor([0.8, 0.2]), torch.randn(1, 3, 7, 24)
    shown = [torch.randn(1, 4, 4, 6), torch.randn(1, 4, 8, 4)][:pictures]
    pack = BriaFibo2Pipeline._patchify_latents
    want = reference(x, sigma, text.expand(2, -1, -1, -1), context_latents=[s.expand(2, -1, -1, -1) for s in shown], return_dict=False)[0]
    cond = {"cross_attn": text.transpose(1, 2).flatten(2), "reference_latents": [pack(s) for s in shown]}
    assert nets.off(nets.call(model, pack(x), sigma, cond), pack(want)) < nets.NEAR


def test_longer_prompts_get_longer_gists() -> None:
    lengths = [10, 256, 300, 1000, 2048, 5000]
    assert [gists(n, 512) for n in lengths] == compute_gist_count(lengths, 256, 512, 64, 256, 2048)


def test_whole_latent(tmp_path: Path) -> None:
    """From a caption."""
    net = nets.randomised(
        BriaFibo2Transformer2DModel(
            **{**CONFIG, "in_channels": 32, "n_layers": 6, "cap_feat_dim": 72, "injection_layer_ids": (1, 2, 3, 4, 5)}
        ),
        std=0.1,
    )
    text, words = spoken.qwen3_vl(), spoken.qwen_words()
    vae = AutoencoderKLFlux2(block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=2, latent_channels=32)
    pipeline = BriaFibo2Pipeline(net, FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), vae, text, None)
    pipeline.set_progress_bar_config(disable=True)
    prompts = ('{"short_description":"a red cat"}', '{"short_description":""}')
    read = [pipeline._get_qwen_prompt_embeds(text, lambda text, images, **options: words(text, **options), prompt) for prompt in prompts]
    told = {"prompt_embeds": read[0][0], "negative_prompt_embeds": read[1][0], "guidance_scale": 3.0, "num_inference_steps": 3}
    noise = prepare_noise(torch.zeros(1, 32, 6, 8), 7)
    want = pipeline(**told, latents=noise, height=48, width=64, output_type="latent").images

    text.save_pretrained(tmp_path / "text")
    clip = load_text_encoders([tmp_path / "text"], tiny.services(tmp_path), "fibo2")
    model = nets.load(dict(net.state_dict()), tmp_path)
    positive, negative = (clip.conditioning(prompt, Pool("cpu")) for prompt in prompts)
    pack = BriaFibo2Pipeline._patchify_latents
    got = nets.solved(CfgGuider(model, positive, negative, 3.0), pack(noise), pipeline.scheduler.sigmas)
    assert nets.apart(got, pack(want)) < 1e-4 and want.abs().max() < 20

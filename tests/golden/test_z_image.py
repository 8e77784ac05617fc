"""Z-Image against diffusers: one call of the net, both spellings, adapters, whole latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, ZImagePipeline, ZImageTransformer2DModel

from backend.diffusion.guiders import CfgGuider
from backend.diffusion.sample import prepare_noise
from backend.families.load import load_checkpoint
from backend.families.z_image.net import ZImageSizes
from backend.memory.pool import Pool
from tests.families import nets, spoken, tiny
from tests.families.published import respelled

CONFIG: dict[str, Any] = {
    "dim": 32, "n_layers": 2, "n_refiner_layers": 1, "n_heads": 2, "n_kv_heads": 2, "cap_feat_dim": 24, "axes_dims": [4, 6, 6],
    "axes_lens": [256, 64, 64],
}  # fmt: skip
SPELLINGS = (
    ("all_x_embedder.2-1.", "x_embedder."), ("all_final_layer.2-1.", "final_layer."), (".to_out.0.", ".out."), (".norm_q.", ".q_norm."),
    (".norm_k.", ".k_norm."),
)  # fmt: skip
"""What the single files call otherwise."""


def twin(std: float = 0.2) -> ZImageTransformer2DModel:
    return nets.randomised(ZImageTransformer2DModel(**CONFIG), std=std)


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = twin()
    state = dict(reference.state_dict())
    if spelling == "single":
        state = respelled(state, SPELLINGS)
        assert nets.knowing(state) == ["Z-Image"]
    model = nets.load(state, tmp_path)
    assert model.sizes == ZImageSizes(16, 32, 2, 85, 2, 1, 24, 32, 1024)
    x, sigma = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3])
    for text in (torch.randn(1, 40, 24), torch.randn(1, 9, 24)):
        want = -torch.stack(reference(list(x.unsqueeze(2)), 1 - sigma, [text[0]] * 2, return_dict=False)[0])[:, :, 0]
        assert nets.off(nets.call(model, x, sigma, {"cross_attn": text}), want) < nets.NEAR


def test_whole_latent(tmp_path: Path) -> None:
    """From a prompt, through a folder in the layout of diffusers: text, net, scheduler."""
    vae = AutoencoderKL(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        layers_per_block=1, latent_channels=16, scaling_factor=0.3611, shift_factor=0.1159)  # fmt: skip
    pipeline = ZImagePipeline(FlowMatchEulerDiscreteScheduler(shift=3.0), vae, spoken.qwen3(), spoken.qwen_words(), twin(0.1))
    pipeline.save_pretrained(tmp_path / "m")
    pipeline.set_progress_bar_config(disable=True)
    found = load_checkpoint(tmp_path / "m", tiny.services(tmp_path))
    assert found.model is not None and found.clip is not None and found.vae is not None and found.unmatched == ()
    noise = prepare_noise(torch.zeros(1, 16, 6, 8), 7)
    told = {"prompt": "a red cat", "negative_prompt": "blurry, dark", "guidance_scale": 2.0, "num_inference_steps": 3}
    want = pipeline(**told, latents=noise, height=12, width=16, output_type="latent").images
    positive, negative = (found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry, dark"))
    got = nets.solved(CfgGuider(found.model, positive, negative, 3.0), noise, pipeline.scheduler.sigmas)
    assert nets.apart(got, want) < 1e-4 and want.abs().max() < 20

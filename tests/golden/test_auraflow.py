"""AuraFlow against diffusers: one call of the net, both spellings, whole latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AuraFlowPipeline, AuraFlowTransformer2DModel, AutoencoderKL, FlowMatchEulerDiscreteScheduler
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.latent import SDXL
from backend.diffusion.patches import again
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.families.auraflow import names
from backend.families.auraflow.net import AuraSizes
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from tests.families import nets, tiny

CONFIG: dict[str, Any] = {
    "sample_size": 16, "num_mmdit_layers": 2, "num_single_dit_layers": 2, "attention_head_dim": 256, "num_attention_heads": 1,
    "joint_attention_dim": 24, "caption_projection_dim": 256, "pos_embed_max_size": 64,
}  # fmt: skip


def twin() -> AuraFlowTransformer2DModel:
    return nets.randomised(AuraFlowTransformer2DModel(**CONFIG), std=0.05)


def published(net: AuraFlowTransformer2DModel) -> dict[str, Tensor]:
    state = dict(net.state_dict())
    found = names.from_diffusers(state).items()
    assert len(found) == len(state)
    return {name: state[o] if isinstance(o, str) else torch.cat([p.cut(state[p.key]) for p in o]) for name, o in found}


@torch.no_grad()
def test_one_call(tmp_path: Path) -> None:
    reference = twin()
    single = published(reference)
    assert nets.knowing(single) == ["AuraFlow"]
    x, sigma, text = torch.randn(2, 4, 6, 10), torch.tensor([0.7, 0.3]), torch.randn(1, 11, 24)
    want = reference(x, text.expand(2, -1, -1), sigma, return_dict=False)[0]
    for state in (single, dict(reference.state_dict()), {f"model.{k}": v for k, v in single.items()}):
        model = nets.load(state, tmp_path)
        assert model.sizes == AuraSizes(4, 256, 1, 768, 2, 2, 24, 8, 8)
        assert nets.off(nets.call(model, x, sigma, {"cross_attn": text}), want) < nets.NEAR
    assert set(model.spellings()) == set(single)
    assert nets.call(model, torch.randn(1, 4, 21, 6), sigma[:1], {"cross_attn": text}).shape == (1, 4, 21, 6)  # beyond the places
    with pytest.raises(BadInput, match="9 wide"):
        nets.call(model, x, sigma, {"cross_attn": text[..., :9]})
    told = {"context": text.expand(2, -1, -1)}
    with Pool("cpu").lease(model.leasable()) as net:
        plain = model.family.forward(net, x, sigma, told)
        taps = {"dit_replace": ((("single_block", 1), lambda args, more: more["original_block"](args)),)}
        assert torch.equal(model.family.forward(net, x, sigma, {**told, "taps": taps, "facts": {}}), plain)
        skipped = {"taps": again.skipping([("double_block", 1), ("single_block", 0)]), "facts": {}}
        assert (model.family.forward(net, x, sigma, {**told, **skipped}) - plain).abs().max() > 1e-3


def test_whole_latent(tmp_path: Path) -> None:
    """Through a folder in the layout of diffusers; padding of the prompt is zero."""
    torch.manual_seed(3)
    text = UMT5EncoderModel(UMT5Config(d_model=24, d_kv=8, d_ff=48, num_layers=2, num_heads=2, vocab_size=32128, dropout_rate=0.0)).eval()
    vae = AutoencoderKL(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        layers_per_block=1, latent_channels=4, scaling_factor=0.13025)  # fmt: skip
    pipeline = AuraFlowPipeline(None, text, vae, twin(), FlowMatchEulerDiscreteScheduler(shift=1.73))
    pipeline.save_pretrained(tmp_path / "m")
    pipeline.set_progress_bar_config(disable=True)
    found = load_checkpoint(tmp_path / "m", tiny.services(tmp_path))
    assert found.model is not None and found.clip is not None and found.clip.branches == ("pile_t5xl",) and found.unmatched == ()
    pool, rows = Pool("cpu"), [[5, 6, 7, 2], [9, 2]]
    conds, embeds, masks = [], [], []
    for row in rows:
        ids = torch.tensor([row + [1] * (20 - len(row))])
        mask = (torch.arange(20) < len(row)).long()[None]
        with torch.no_grad():
            embeds.append(text(ids, attention_mask=mask)[0] * mask.unsqueeze(-1))
        masks.append(mask)
        conds.append(found.clip.encoded({"pile_t5xl": [[(i, 1.0) for i in ids[0].tolist()]]}, pool).conditioning())
        assert (conds[-1][0][0] - embeds[-1]).abs().max() < 1e-5
    noise = prepare_noise(torch.zeros(1, 4, 6, 8), 7)
    want = pipeline(
        prompt=None, prompt_embeds=embeds[0], prompt_attention_mask=masks[0], negative_prompt_embeds=embeds[1],
        negative_prompt_attention_mask=masks[1], guidance_scale=3.0, num_inference_steps=3, latents=noise, height=12, width=16,
        output_type="latent",
    ).images  # fmt: skip
    guider = CfgGuider(found.model, conds[0], conds[1], 3.0)
    got = sample(guider, noise, torch.zeros_like(noise), solver("euler"), pipeline.scheduler.sigmas, pool=pool)
    assert (SDXL.process_in(got) - want).abs().max() < 1e-4

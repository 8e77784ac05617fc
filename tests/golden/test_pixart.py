"""PixArt Alpha and Sigma against diffusers: one call of the net, both spellings, whole latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, PixArtAlphaPipeline, PixArtSigmaPipeline, PixArtTransformer2DModel
from torch import Tensor

from backend.base.errors import BadInput
from backend.families.load import load_checkpoint
from backend.families.pixart import names
from backend.families.pixart.net import PixArtSizes
from backend.memory.pool import Pool
from tests.families import nets, texts, tiny
from tests.golden import whole

CONFIG: dict[str, Any] = {
    "num_attention_heads": 16, "attention_head_dim": 3, "num_layers": 2, "cross_attention_dim": 48, "caption_channels": 32,
}  # fmt: skip
KINDS = {"PixArt Alpha": (PixArtAlphaPipeline, True, 120), "PixArt Sigma": (PixArtSigmaPipeline, False, 300)}


def twin(sized: bool) -> PixArtTransformer2DModel:
    return nets.randomised(PixArtTransformer2DModel(**CONFIG, sample_size=128, use_additional_conditions=sized))


def published(net: PixArtTransformer2DModel, length: int) -> dict[str, Tensor]:
    state = dict(net.state_dict())
    found = names.from_diffusers(state).items()
    ours = {name: state[o] if isinstance(o, str) else torch.cat([p.cut(state[p.key]) for p in o]) for name, o in found}
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in state.values())
    return ours | {"y_embedder.y_embedding": torch.zeros(length, 32), "pos_embed": torch.zeros(1, 64 * 64, 48)}


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_one_call(kind: str, tmp_path: Path) -> None:
    """Sizes are told in pixels; padding is not looked at."""
    _, sized, length = KINDS[kind]
    reference = twin(sized)
    single = published(reference, length)
    assert nets.knowing(single) == [kind]
    x, t, text = torch.randn(2, 4, 6, 10), torch.tensor([400.0, 400.0]), torch.randn(1, 11, 32)
    mask = (torch.arange(11) < 8).long()[None]
    more = {"resolution": torch.tensor([[48.0, 80.0]] * 2), "aspect_ratio": torch.tensor([[0.6]] * 2)}
    for shown in (None, mask):
        want = reference(
            x, encoder_hidden_states=text.expand(2, -1, -1), timestep=t, added_cond_kwargs=more if sized else None,
            encoder_attention_mask=None if shown is None else shown.expand(2, -1), return_dict=False,
        )[0][:, :4]  # fmt: skip
        for state in (single, dict(reference.state_dict())):
            model = nets.load(state, tmp_path)
            assert model.family.name == kind and model.sizes == PixArtSizes(4, 8, 48, 16, 192, 2, 32, sized, 32)
            sigma = model.noise.sigma(t)
            assert nets.off(nets.call(model, x, sigma, {"cross_attn": text, "attention_mask": shown}), want) < nets.NEAR
    assert nets.call(model, x[..., :9], sigma, {"cross_attn": text}).shape == (2, 4, 6, 9)
    with pytest.raises(BadInput, match="9 wide"):
        nets.call(model, x, sigma, {"cross_attn": text[..., :9]})
    told = {
        key: value.expand(2, *value.shape[1:]) for key, value in model.family.inputs([{"cross_attn": text}], model.sizes, x.shape).items()
    }
    with Pool("cpu").lease(model.leasable()) as net:
        taps = {"attn1_replace": ((("single_block", 1), lambda q, k, v, facts: v),)}
        spoilt = model.family.forward(net, x, t, {**told, "taps": taps, "facts": {}})
        assert (spoilt - model.family.forward(net, x, t, told)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_whole_latent(kind: str, tmp_path: Path) -> None:
    """From a prompt, through a folder in the layout of diffusers; diffusers fills prompts up and masks that, which changes nothing."""
    make, sized, _ = KINDS[kind]
    scheduler = EulerDiscreteScheduler(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", timestep_spacing="trailing")
    vae = AutoencoderKL(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        layers_per_block=1, latent_channels=4)  # fmt: skip
    pipeline = make(tokenizer=texts.t5_words(), text_encoder=texts.t5(32), vae=vae, transformer=twin(sized), scheduler=scheduler)
    pipeline.save_pretrained(tmp_path / "m")
    pipeline.set_progress_bar_config(disable=True)
    found = load_checkpoint(tmp_path / "m", tiny.services(tmp_path))
    assert found.model is not None and found.clip is not None and found.unmatched == () and found.model.family.name == kind
    noise = whole.noise_like()
    conds = [found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry")]
    if sized:  # its VAE makes two pixels a cell
        conds = [whole.with_(cond, height=16, width=16) for cond in conds]
    want = pipeline(
        prompt="a red cat", negative_prompt="blurry", guidance_scale=whole.CFG, num_inference_steps=whole.STEPS, height=16, width=16,
        latents=whole.started(noise, scheduler), output_type="latent", use_resolution_binning=False, clean_caption=False,
    ).images  # fmt: skip
    # it starts at a sigma of 157, and random weights keep the latent as large: what is compared is a part of that
    assert nets.off(whole.ours(found.model, conds[0], conds[1], noise), want) < whole.CLOSE / 10

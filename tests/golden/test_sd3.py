"""Stable Diffusion 3 and 3.5 against diffusers: one call of the net, both spellings, adapters, whole latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Img2ImgPipeline,
    StableDiffusion3InpaintPipeline,
    StableDiffusion3Pipeline,
)
from diffusers.models.attention_processor import PAGJointAttnProcessor2_0
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.latent import SD3
from backend.diffusion.patches import again
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.families import save
from backend.families.load import Loaded, load_checkpoint
from backend.families.sd3 import names
from backend.families.sd3.net import SD3Sizes
from backend.memory.pool import Pool
from backend.weights import lora
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import nets, texts, tiny

NORMED: dict[str, Any] = {"attention_head_dim": 16, "num_attention_heads": 2, "caption_projection_dim": 32, "qk_norm": "rms_norm"}
KINDS: dict[str, dict[str, Any]] = {
    "3": {"attention_head_dim": 64, "num_attention_heads": 1, "caption_projection_dim": 64},
    "3.5 large": NORMED,
    "3.5 medium": {**NORMED, "dual_attention_layers": (0, 1)},
}
SHARED: dict[str, Any] = {
    "sample_size": 16,
    "num_layers": 3,
    "joint_attention_dim": 96,
    "pooled_projection_dim": 80,
    "pos_embed_max_size": 12,
}


def twin(kind: str = "3.5 medium") -> SD3Transformer2DModel:
    return nets.randomised(SD3Transformer2DModel(**SHARED, **KINDS[kind]))


def published(net: SD3Transformer2DModel) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them."""
    state, ours = dict(net.state_dict()), {}
    for name, origin in names.from_diffusers(state).items():
        ours[name] = state[origin] if isinstance(origin, str) else torch.cat([piece.cut(state[piece.key]) for piece in origin])
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in state.values())
    return ours


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_one_call(kind: str, tmp_path: Path) -> None:
    """Also at odd sizes, whose last rows and columns are filled up."""
    reference = twin(kind)
    width = KINDS[kind]["caption_projection_dim"]
    single = published(reference)
    assert nets.knowing(single) == ["Stable Diffusion 3"]
    x, sigma = torch.randn(2, 16, 6, 10), torch.tensor([0.7, 0.3])
    text, pooled = torch.randn(1, 11, 96), torch.randn(1, 80)
    want = reference(x, text.expand(2, -1, -1), pooled.expand(2, -1), sigma * 1000, return_dict=False)[0]
    for state in (single, dict(reference.state_dict()), {f"model.diffusion_model.{k}": v for k, v in single.items()}):
        model = nets.load(state, tmp_path)
        heads = 1 if kind == "3" else 2
        dual = (0, 1) if kind == "3.5 medium" else ()
        assert model.sizes == SD3Sizes(16, width, heads, 4 * width, 3, 96, 80, 12, kind != "3", dual)
        assert nets.off(nets.call(model, x, sigma, {"cross_attn": text, "pooled_output": pooled}), want) < nets.NEAR
    assert nets.call(model, x[..., :9], sigma, {"cross_attn": text}).shape == (2, 16, 6, 9)


def test_skipped_layers_and_other_taps(tmp_path: Path) -> None:
    reference, x = twin(), torch.randn(1, 16, 6, 6)
    model = nets.load(published(reference), tmp_path)
    cond = {"cross_attn": torch.randn(1, 5, 96), "pooled_output": torch.randn(1, 80)}
    told = model.family.inputs([cond], model.sizes, x.shape)
    seen: list[Any] = []

    def after(args: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        seen.append(args["block_index"])
        return args

    def instead(args: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
        made: dict[str, Any] = more["original_block"](args)
        return {**made, "img": made["img"] * 1.0}

    with torch.no_grad(), Pool("cpu").lease(model.leasable()) as net:
        want = reference(x, cond["cross_attn"], cond["pooled_output"], torch.tensor([400.0]), return_dict=False, skip_layers=[1])[0]
        plain = model.family.forward(net, x, torch.tensor([400.0]), told)
        skipped = {"taps": again.skipping([("double_block", 1)]), "facts": {}}
        assert nets.off(model.family.forward(net, x, torch.tensor([400.0]), {**told, **skipped}), want) < nets.NEAR
        taps = {"double_block": (after,), "dit_replace": ((("double_block", 1), instead),)}
        assert torch.equal(model.family.forward(net, x, torch.tensor([400.0]), {**told, "taps": taps, "facts": {}}), plain)
    assert seen == [0, 1, 2]


def test_perturbed_attention(tmp_path: Path) -> None:
    """The spoilt answer: a token of the picture sees itself and the prompt."""
    reference, x, text, pooled = twin("3"), torch.randn(1, 16, 6, 6), torch.randn(1, 5, 96), torch.randn(1, 80)
    model = nets.load(published(reference), tmp_path)
    reference.transformer_blocks[1].attn.set_processor(PAGJointAttnProcessor2_0())
    told = model.family.inputs([{"cross_attn": text, "pooled_output": pooled}], model.sizes, x.shape)
    taps = {"attn1_replace": ((("double_block", 1), again.value_only),)}
    with torch.no_grad(), Pool("cpu").lease(model.leasable()) as net:
        both = reference(torch.cat([x, x]), torch.cat([text] * 2), torch.cat([pooled] * 2), torch.tensor([400.0] * 2), return_dict=False)[0]
        got = model.family.forward(net, x, torch.tensor([400.0]), {**told, "taps": taps, "facts": {}})
    assert nets.off(got, both[1:]) < nets.NEAR < nets.off(got, both[:1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[StableDiffusion3Pipeline, Loaded]:
    """A pipeline, and what we load of its folder."""
    tmp_path = tmp_path_factory.mktemp("whole")
    vae = AutoencoderKL(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                        layers_per_block=1, latent_channels=16, scaling_factor=1.5305, shift_factor=0.0609)  # fmt: skip
    pipeline = StableDiffusion3Pipeline(
        twin(), FlowMatchEulerDiscreteScheduler(shift=3.0), vae, texts.clip(32), texts.clip_words(), texts.clip(48, quick=False),
        texts.clip_words("!"), texts.t5(), texts.t5_words(),
    )  # fmt: skip
    pipeline.save_pretrained(tmp_path / "m")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, load_checkpoint(tmp_path / "m", tiny.services(tmp_path))


def test_whole_latent(whole: tuple[StableDiffusion3Pipeline, Loaded]) -> None:
    """From a prompt, through a folder in the layout of diffusers: three text encoders, net, scheduler."""
    pipeline, found = whole
    assert found.model is not None and found.clip is not None and found.vae is not None and found.unmatched == ()
    assert found.clip.branches == ("l", "g", "t5xxl") and found.model.noise.sigma_max == 1.0
    noise = prepare_noise(torch.zeros(1, 16, 6, 8), 7)
    want = pipeline(
        prompt="a red cat", negative_prompt="blurry, dark", guidance_scale=3.0, num_inference_steps=3, latents=noise, height=12, width=16,
        output_type="latent", max_sequence_length=77,
    ).images  # fmt: skip
    positive, negative = (found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry, dark"))
    guider = CfgGuider(found.model, positive, negative, 3.0)
    got = sample(guider, noise, torch.zeros_like(noise), solver("euler"), pipeline.scheduler.sigmas, pool=Pool("cpu"))
    assert (SD3.process_in(got) - want).abs().max() < 1e-4


@pytest.mark.parametrize("make", [StableDiffusion3Img2ImgPipeline, StableDiffusion3InpaintPipeline])
def test_from_a_picture(make: Any, whole: tuple[StableDiffusion3Pipeline, Loaded]) -> None:
    """Two of three steps over a picture, and over a part of it."""
    first, found = whole
    pipeline = make(**first.components)
    pipeline.set_progress_bar_config(disable=True)
    assert found.model is not None and found.clip is not None
    clean, mask = torch.randn(1, 16, 6, 8, generator=torch.manual_seed(1)), torch.zeros(1, 1, 12, 16)
    mask[..., :8] = 1
    inside = {"mask_image": mask, "masked_image_latents": clean} if make is StableDiffusion3InpaintPipeline else {}
    told = {
        "prompt": "a red cat",
        "negative_prompt": "blurry, dark",
        "max_sequence_length": 77,
        "generator": torch.manual_seed(7),
        **inside,
    }
    sizes = {"height": 12, "width": 16, "output_type": "latent"}
    want = pipeline(**told, **sizes, guidance_scale=3.0, num_inference_steps=3, strength=0.66, image=clean).images
    positive, negative = (found.clip.conditioning(text, Pool("cpu")) for text in ("a red cat", "blurry, dark"))
    latent = SD3.process_out(clean)
    noise, sigmas = prepare_noise(latent, 7), pipeline.scheduler.sigmas[-3:]
    guider = CfgGuider(found.model, positive, negative, 3.0)
    got = sample(guider, noise, latent, solver("euler"), sigmas, mask[..., ::2, ::2] if inside else None, pool=Pool("cpu"))
    assert (SD3.process_in(got) - want).abs().max() < 1e-4


def test_saved_and_loaded_again(whole: tuple[StableDiffusion3Pipeline, Loaded], tmp_path: Path) -> None:
    """As one file with all of its encoders; an adapter of T5 finds it there, as trainers name it."""
    _, found = whole
    save.save(tmp_path / "m.safetensors", {}, found.model, found.clip, found.vae)
    again = load_checkpoint(tmp_path / "m.safetensors", tiny.services(tmp_path))
    assert again.clip is not None and again.vae is not None and again.clip.branches == ("l", "g", "t5xxl") and again.unmatched == ()
    part = "encoder.block.1.layer.0.SelfAttention.q"
    up, down = torch.randn(32, 2), torch.randn(2, 96)
    for name in (f"lora_te3_{part.replace('.', '_')}", f"text_encoders.t5xxl.transformer.{part}"):
        save_safetensors(tmp_path / "l.safetensors", {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down})
        _, clip, report = lora.apply(again.model, again.clip, open_weights(tmp_path / "l.safetensors"))
        assert clip is not None and report.clip == 1
        plain, changed = (one.conditioning("a red cat", Pool("cpu"))[0][0] for one in (again.clip, clip))
        assert torch.equal(plain[:, :77], changed[:, :77]) and (plain - changed).abs().max() > 1e-3


def test_adapters_of_every_spelling(tmp_path: Path) -> None:
    """A piece of the fused product, as diffusers and kohya name it, and the product as single files do."""
    model = nets.load(published(twin()), tmp_path)
    up, down = torch.randn(32, 2), torch.randn(2, 32)
    fused = "joint_blocks.0.x_block.attn.qkv"

    def changed(name: str, up: Tensor, leaves: tuple[str, str]) -> Tensor:
        save_safetensors(tmp_path / "l.safetensors", {f"{name}.{leaves[0]}.weight": up, f"{name}.{leaves[1]}.weight": down})
        patched, _, _ = lora.apply(model, None, open_weights(tmp_path / "l.safetensors"))
        assert isinstance(patched, ModelHandle)
        ((delta,),) = [patched.leasable().deltas[f"{fused}.weight"]]
        return delta(torch.zeros(96, 32))

    peft, kohya = ("lora_B", "lora_A"), ("lora_up", "lora_down")
    want = torch.zeros(96, 32)
    want[32:64] = up @ down
    assert torch.allclose(changed("transformer.transformer_blocks.0.attn.to_k", up, peft), want)
    assert torch.allclose(changed("lora_unet_transformer_blocks_0_attn_to_k", up, kohya) * 1.0, want)
    whole = torch.randn(96, 2)
    for name in (f"diffusion_model.{fused}", f"lora_unet_{fused.replace('.', '_')}"):
        assert torch.allclose(changed(name, whole, kohya), whole @ down)


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    model = nets.load(published(twin()), tmp_path)
    with pytest.raises(BadInput, match="64 wide"):
        model.family.inputs([{"cross_attn": torch.zeros(1, 4, 64)}], model.sizes, (1, 16, 8, 8))
    with pytest.raises(BadInput, match="places up to 192"):
        model.family.inputs([{"cross_attn": torch.zeros(1, 4, 96)}], model.sizes, (1, 16, 8, 26))

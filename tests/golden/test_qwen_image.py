"""Qwen Image's nets against diffusers, call by call and as whole sampled latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler, QwenImagePipeline
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families import kin
from backend.families.load import load_diffusion_model
from backend.families.qwen_image.net import QwenSizes
from backend.memory.pool import Pool
from backend.weights import lora
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families import qwen, tiny
from tests.families.waits import unasked


def loaded(net: Any, tmp_path: Path, **more: Tensor) -> ModelHandle:
    return load_diffusion_model(qwen.single(net.state_dict(), tmp_path / "m.safetensors", **more), tiny.services(tmp_path))


def run(model: ModelHandle, x: Tensor, t: Tensor, **cond: Any) -> Tensor:
    with torch.inference_mode(), Pool("cpu").lease(model.leasable()) as net:
        made = model.family.inputs([cond], model.sizes, x.shape)
        batch = {key: value.expand(len(x), *value.shape[1:]) for key, value in made.items()}
        with unasked(x, t, batch):
            return model.family.forward(net, x, t, batch)


def shape(x: Tensor) -> tuple[int, int, int]:
    return (1, x.shape[-2] // 2, x.shape[-1] // 2)


@torch.no_grad()
def test_pictures_from_text(tmp_path: Path) -> None:
    theirs = qwen.net()
    model = loaded(theirs, tmp_path)
    assert model.family.name == "Qwen Image" and model.sizes == QwenSizes(16, 64, 2, 2, qwen.TEXT)
    x, t, text = torch.randn(2, 16, 1, 10, 8), torch.tensor([0.9, 0.2]), torch.randn(1, 7, qwen.TEXT)
    out = run(model, x, t, cross_attn=text)
    expected = theirs(qwen.packed(x), text.expand(2, -1, -1), None, t, [[shape(x)]] * 2).sample
    assert (qwen.packed(out) - expected).abs().max() < 1e-5
    assert run(model, torch.randn(1, 16, 1, 7, 5), t[:1], cross_attn=text).shape == (1, 16, 1, 7, 5)


@pytest.mark.parametrize("clean", [False, True])
@torch.no_grad()
def test_pictures_to_look_at(tmp_path: Path, clean: bool) -> None:
    theirs = qwen.net(zero_cond_t=clean)
    model = loaded(theirs, tmp_path, **({"__index_timestep_zero__": torch.zeros(1)} if clean else {}))
    x, t, text = torch.randn(1, 16, 1, 6, 4), torch.tensor([0.6]), torch.randn(1, 5, qwen.TEXT)
    seen = [torch.randn(1, 16, 1, 4, 6), torch.randn(1, 16, 1, 8, 4)]
    encoded = [model.family.latent.process_out(picture) for picture in seen]
    out = run(model, x, t, cross_attn=text, reference_latents=[encoded[0][:, :, 0], encoded[1]])
    tokens = torch.cat([qwen.packed(picture) for picture in (x, *seen)], dim=1)
    expected = theirs(tokens, text, None, t, [[shape(picture) for picture in (x, *seen)]]).sample[:, :6]
    assert (qwen.packed(out) - expected).abs().max() < 1e-5
    method = {"reference_latents": encoded, "reference_latents_method": "index" if clean else "index_timestep_zero"}
    assert not torch.allclose(run(model, x, t, cross_attn=text, **method), out, atol=1e-4)
    beside = run(model, x, t, cross_attn=text, reference_latents=encoded, reference_latents_method="offset")
    assert beside.shape == x.shape and not torch.allclose(beside, out, atol=1e-4)


@torch.no_grad()
def test_layers(tmp_path: Path) -> None:
    theirs = qwen.net(use_additional_t_cond=True, use_layer3d_rope=True)
    model = loaded(theirs, tmp_path)
    assert model.sizes.layered
    x, seen, t, text = torch.randn(1, 16, 3, 4, 4), torch.randn(1, 16, 1, 4, 4), torch.tensor([0.4]), torch.randn(1, 5, qwen.TEXT)
    out = run(model, x, t, cross_attn=text, reference_latents=[model.family.latent.process_out(seen)])
    tokens = torch.cat([qwen.packed(x), qwen.packed(seen)], dim=1)
    told = torch.zeros(1, dtype=torch.long)
    expected = theirs(tokens, text, None, t, [[shape(x)] * 4], additional_t_cond=told).sample[:, :12]
    assert (qwen.packed(out) - expected).abs().max() < 1e-5


@torch.no_grad()
def test_a_whole_latent(tmp_path: Path) -> None:
    theirs = qwen.net()
    model = loaded(theirs, tmp_path)
    vae = AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    scheduler = FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, max_image_seq_len=8192, shift_terminal=0.02
    )
    pipe = QwenImagePipeline(scheduler, vae, None, None, theirs)
    pipe.set_progress_bar_config(disable=True)
    noise, text = torch.randn(1, 16, 1, 8, 8), torch.randn(1, 6, qwen.TEXT)
    expected = pipe(
        prompt_embeds=text, prompt_embeds_mask=torch.ones(1, 6, dtype=torch.long), latents=qwen.packed(noise), height=64, width=64,
        num_inference_steps=4, true_cfg_scale=1.0, output_type="latent",
    ).images  # fmt: skip
    guider = CfgGuider(model, [[text, {}]], [[text, {}]], 1.0)
    made = sample(guider, noise, torch.zeros_like(noise), solver("euler"), scheduler.sigmas, pool=Pool("cpu"))
    assert (qwen.packed(model.family.latent.process_in(made)) - expected).abs().max() < 1e-4


def test_prompts_of_different_length_are_guided(tmp_path: Path) -> None:
    model = loaded(qwen.net(), tmp_path)
    assert model.noise.prediction.flow and abs(float(model.noise.sigma(torch.tensor(0.5))) - 0.7595) < 1e-3
    noise, short, long = torch.randn(2, 16, 1, 4, 4), torch.randn(1, 3, qwen.TEXT), torch.randn(1, 6, qwen.TEXT)
    guider = CfgGuider(model, [[long, {}]], [[short, {}]], 2.0)
    made = sample(guider, noise, torch.zeros_like(noise), solver("euler"), torch.tensor([1.0, 0.5]), pool=Pool("cpu"))
    t = torch.tensor([1.0, 1.0])
    good, bad = (run(model, noise, t, cross_attn=text) for text in (long, short))
    expected = noise - 0.5 * (bad + 2.0 * (good - bad))
    assert (model.family.latent.process_in(made) * 0.5 - expected).abs().max() < 1e-4


def test_a_text_or_picture_of_another_model_is_told(tmp_path: Path) -> None:
    model = loaded(qwen.net(), tmp_path)
    with pytest.raises(BadInput, match=r"2048 wide.*takes 24"):
        model.family.inputs([{"cross_attn": torch.zeros(1, 4, 2048)}], model.sizes, (1, 16, 1, 4, 4))
    seen = {"cross_attn": torch.zeros(1, 4, qwen.TEXT), "reference_latents": [torch.zeros(1, 4, 4, 4)]}
    with pytest.raises(BadInput, match="16 channels"):
        model.family.inputs([seen], model.sizes, (1, 16, 1, 4, 4))


SPELLED = (
    ("{}.lora_down.weight", "{}.lora_up.weight", "transformer_blocks.1.{}"),  # Lightning
    ("{}.lora_A.weight", "{}.lora_B.weight", "transformer.transformer_blocks.1.{}"),
    ("{}.lora_A.weight", "{}.lora_B.weight", "diffusion_model.transformer_blocks.1.{}"),
    ("{}.lora_down.weight", "{}.lora_up.weight", "lora_unet_transformer_blocks_1_{}"),
)


@pytest.mark.parametrize(("down", "up", "module"), SPELLED)
def test_loras_reach_the_layers_by_every_spelling(tmp_path: Path, down: str, up: str, module: str) -> None:
    model = loaded(qwen.net(), tmp_path)
    names = ("attn.to_q", "attn.add_k_proj", "attn.to_out.0", "img_mod.1", "img_mlp.net.0.proj", "txt_mlp.net.2")
    state: dict[str, Tensor] = {}
    for name in names:
        rows, columns = model.loadable.source[f"transformer_blocks.1.{name}.weight"].shape
        said = module.format(name.replace(".", "_") if "lora_unet" in module else name)
        state |= {down.format(said): torch.randn(2, columns), up.format(said): torch.randn(rows, 2)}
    save_safetensors(tmp_path / "lora.safetensors", state)
    patched, _, report = lora.apply(model, None, open_weights(tmp_path / "lora.safetensors"), kin=kin)
    assert patched is not None and report.model == len(names) and not report.unmatched
    assert {patch.key for patch in patched.patches} == {f"transformer_blocks.1.{name}.weight" for name in names}


def test_a_lora_for_another_model_is_named(tmp_path: Path) -> None:
    model = loaded(qwen.net(), tmp_path)
    module = "transformer.transformer_blocks.{}.img_mlp.net.2"
    state = {f"{module.format(i)}.lora_{side}.weight": torch.randn(2, 2) for i in range(3) for side in "AB"}
    save_safetensors(tmp_path / "lora.safetensors", state)
    other = load_diffusion_model(tiny.make().single(tmp_path / "sd.safetensors"), tiny.services(tmp_path))
    with pytest.raises(BadInput, match=r"lora\.safetensors is for Qwen Image, the model is"):
        lora.apply(other, None, open_weights(tmp_path / "lora.safetensors"), kin=kin)
    save_safetensors(
        tmp_path / "sdlora.safetensors", {f"lora_unet_down_blocks_0_attn.lora_{side}.weight": torch.randn(2, 2) for side in ("up", "down")}
    )
    with pytest.raises(BadInput, match=r"is for a UNet model, the model is Qwen Image"):
        lora.apply(model, None, open_weights(tmp_path / "sdlora.safetensors"), kin=kin)

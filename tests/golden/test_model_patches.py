"""Model patches through file, loader, node and sampling loop, against the formula written out."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLQwenImage
from torch import Tensor
from torch.nn import functional as F

from backend.adapters.patches import Picture, load_patch, steered
from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.diffusion.companions import together
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.families.load import load_diffusion_model, load_vae
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.model_patch_files import qwen_image_diffsynth_controlnet
from tests.families import qwen, tiny

POOL, WIDTH = Pool("cpu"), 64


def blockwise(told: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(13)
    shapes = {"x_rms.weight": (WIDTH,), "y_rms.weight": (WIDTH,)}
    for name in ("input_proj", "output_proj"):
        shapes |= {f"{name}.weight": (WIDTH, WIDTH), f"{name}.bias": (WIDTH,)}
    made = {f"controlnet_blocks.{i}.{name}": torch.randn(shape) * 0.1 for i in range(2) for name, shape in shapes.items()}
    return made | {"img_in.weight": torch.randn(WIDTH, 64 + 4 * told) * 0.1, "img_in.bias": torch.randn(WIDTH) * 0.1}


def velocity(model: ModelHandle, noise: Tensor, text: Tensor) -> Tensor:
    """At sigma 1."""
    guider = CfgGuider(model, [[text, {}]], [[text, {}]], 1.0)
    made = sample(guider, noise, torch.zeros_like(noise), solver("euler"), torch.tensor([1.0, 0.5]), pool=POOL)
    return (noise - model.family.latent.process_in(made) * 0.5) / 0.5


class Written:
    """The patch as a hook on diffusers' blocks."""

    def __init__(self, weights: dict[str, Tensor], shown: Tensor, strength: float) -> None:
        self.weights, self.strength, self.number = weights, strength, 0
        self.y = F.linear(shown, weights["img_in.weight"], weights["img_in.bias"])

    def normed(self, x: Tensor, name: str) -> Tensor:
        return F.rms_norm(x, (WIDTH,), self.weights[self.of(name)], 1e-6)

    def of(self, name: str) -> str:
        return f"controlnet_blocks.{self.number}.{name}"

    def __call__(self, module: Any, args: Any, out: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        text, x = out
        h = self.normed(x, "x_rms.weight") + self.normed(self.y, "y_rms.weight")
        h = F.gelu(F.linear(h, self.weights[self.of("input_proj.weight")], self.weights[self.of("input_proj.bias")]))
        h = F.linear(h, self.weights[self.of("output_proj.weight")], self.weights[self.of("output_proj.bias")])
        self.number += 1
        return text, x + self.strength * h


@pytest.mark.parametrize("told", [0, 1])
@torch.no_grad()
def test_blockwise_control_of_qwen_image(tmp_path: Path, told: int) -> None:
    theirs, weights, services = qwen.net(), blockwise(told), tiny.services(tmp_path)
    save_safetensors(tmp_path / "patch.safetensors", weights)
    torch.manual_seed(14)
    vae_net = AutoencoderKLQwenImage(base_dim=8, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    vae_net.save_pretrained(tmp_path / "vae")
    model = load_diffusion_model(qwen.single(theirs.state_dict(), tmp_path / "m.safetensors"), services)
    patch, vae = load_patch(tmp_path / "patch.safetensors", services), load_vae(tmp_path / "vae", services)
    picture, noise, text = torch.rand(1, 64, 48, 3), torch.randn(1, 16, 1, 8, 6), torch.randn(1, 5, qwen.TEXT)
    mask = torch.zeros(1, 8, 6)
    mask[:, 2:5, 1:4] = 1
    ctx: Any = SimpleNamespace(node="7")
    changed = qwen_image_diffsynth_controlnet(
        ctx, model=model, model_patch=patch, vae=vae, image=picture, strength=0.8, mask=mask if told else None
    )
    made = velocity(changed, noise, text)

    shown = model.family.latent.process_in(vae_net.encode((picture * 2 - 1).movedim(-1, 1).unsqueeze(2)).latent_dist.mean)
    if told:
        shown = torch.cat([shown, 1 - mask[:, None, None]], dim=1)
    written = Written(weights, qwen.packed(shown), 0.8)
    for block in theirs.transformer_blocks:
        block.register_forward_hook(written)
    expected = theirs(qwen.packed(noise), text, None, torch.ones(1), [[(1, 4, 3)]]).sample
    assert (qwen.packed(made) - expected).abs().max() < 1e-4
    beside = [[text, {"reference_latents": [torch.randn(1, 16, 1, 4, 4)]}]]
    guider = CfgGuider(changed, beside, beside, 1.0)
    out = sample(guider, noise, torch.zeros_like(noise), solver("euler"), torch.tensor([1.0, 0.0]), pool=POOL)
    assert out.shape == noise.shape and bool(out.isfinite().all())


def test_each_prompt_sees_the_pictures_from_the_first(tmp_path: Path) -> None:
    services = tiny.services(tmp_path)
    save_safetensors(tmp_path / "patch.safetensors", blockwise())
    model = load_diffusion_model(qwen.single(qwen.net().state_dict(), tmp_path / "m.safetensors"), services)
    vae: Any = SimpleNamespace(channels=16, encode=lambda pixels, pool: pixels.mean() + torch.zeros(1, 16, 1, 8, 6))
    pictures = torch.stack([torch.zeros(64, 48, 3), torch.ones(64, 48, 3)])
    changed = steered(load_patch(tmp_path / "patch.safetensors", services), model, Picture(vae, pictures, 1.0))
    x, text = torch.randn(3, 16, 1, 8, 6), torch.randn(1, 5, qwen.TEXT)
    with torch.inference_mode(), together(changed, {}, POOL) as companions, POOL.lease(model.leasable()) as net:

        def run(many: Tensor, members: list[int]) -> Tensor:
            told = model.family.inputs([{"cross_attn": text.expand(len(many), -1, -1)}], model.sizes, many.shape)
            told |= {"taps": companions.taps, "facts": {"cond_or_uncond": members}}
            return model.family.forward(net, many, torch.full((len(many),), 0.7), told)

        one, two = run(x, [0]), run(torch.cat([x, x]), [0, 1])
    assert torch.allclose(two, torch.cat([one, one]), atol=1e-5)


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    services, weights = tiny.services(tmp_path), blockwise()
    path = tmp_path / "patch.safetensors"
    save_safetensors(path, weights)
    patch = load_patch(path, services)
    sd = load_diffusion_model(tiny.make().single(tmp_path / "sd.safetensors"), services)
    vae = load_vae(tmp_path / "sd.safetensors", services)
    ctx: Any = SimpleNamespace(node="7")
    shown: dict[str, Any] = {"model_patch": patch, "vae": vae, "image": torch.rand(1, 32, 32, 3), "strength": 1.0}
    with pytest.raises(BadInput, match=r"patch\.safetensors is for Qwen Image, the model is Stable Diffusion 1"):
        qwen_image_diffsynth_controlnet(ctx, model=sd, **shown)
    model = load_diffusion_model(qwen.single(qwen.net().state_dict(), tmp_path / "m.safetensors"), services)
    with pytest.raises(BadInput, match=r"latents of 4 channels; the model works on 16"):
        qwen_image_diffsynth_controlnet(ctx, model=model, **shown)
    assert qwen_image_diffsynth_controlnet(ctx, model=sd, **{**shown, "strength": 0.0}) is sd
    with pytest.raises(BadInput, match="needs a control picture"):
        patch.steered(model, Picture(vae, None, 1.0))  # type: ignore[attr-defined]
    save_safetensors(path, {name: value for name, value in weights.items() if name != "controlnet_blocks.1.x_rms.weight"})
    with pytest.raises(BadFile, match=r"controlnet_blocks\.1\.x_rms\.weight is missing"):
        load_patch(path, services)
    with pytest.raises(UnknownModel, match="no known model patch"):
        load_patch(tmp_path / "sd.safetensors", services)

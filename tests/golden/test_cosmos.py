"""Cosmos Predict 2 against diffusers: one call of the net in every spelling, frames that are known, whole latents."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    Cosmos2TextToImagePipeline,
    Cosmos2VideoToWorldPipeline,
    CosmosTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
)  # fmt: skip
from diffusers.models.transformers import transformer_cosmos
from torch import Tensor
from torch.nn.functional import interpolate

from backend.base.errors import BadInput
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.latent import WAN
from backend.diffusion.sample import prepare_noise, sample
from backend.diffusion.samplers import solver
from backend.families.anima import FAMILY as ANIMA
from backend.families.anima.net import AnimaSizes
from backend.families.cosmos import FILM, IMAGE
from backend.families.cosmos.names import from_diffusers, to_diffusers
from backend.families.cosmos.net import CosmosSizes
from backend.families.load import load_vae
from backend.memory.pool import Pool
from backend.weights.file import Entry
from backend.weights.save import save_safetensors
from nodes.cosmos import cosmos_predict2_image_to_video_latent
from tests.families import nets, tiny

CONFIG: dict[str, Any] = {
    "num_attention_heads": 2, "attention_head_dim": 18, "num_layers": 2, "text_embed_dim": 24, "adaln_lora_dim": 8,
    "rope_scale": (1.0, 4.0, 4.0), "extra_pos_embed_type": None,
}  # fmt: skip
TOLD = {**CONFIG, "in_channels": 17, "rope_scale": (1.0, 3.0, 3.0)}
NO_FILLING = torch.zeros(1, 1, 16, 16)
# that net asks torchvision for one function, which nothing else here needs
transformer_cosmos.transforms = SimpleNamespace(
    functional=SimpleNamespace(resize=lambda x, size, interpolation: interpolate(x, size, mode=interpolation)),
    InterpolationMode=SimpleNamespace(NEAREST="nearest"),
)


class Checker(torch.nn.Identity):
    """Stands where the pipeline wants its judge of words and pictures, which is never asked."""

    device, dtype = torch.device("cpu"), torch.float32


def twin(config: dict[str, Any] = CONFIG, std: float = 0.2) -> CosmosTransformer3DModel:
    return nets.randomised(CosmosTransformer3DModel(**config), std=std)


def published(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """diffusers' weights as the single files have them, with what they carry beside."""
    names = from_diffusers(state)
    assert len(names) == len(state) and to_diffusers(None, names) == names
    beside = {"net.pos_embedder.seq": torch.zeros(4), "net.accum_iteration": torch.zeros(1)}
    return {f"net.{name}": state[key] for name, key in names.items()} | beside


def filled(text: Tensor) -> Tensor:
    return torch.nn.functional.pad(text, (0, 0, 0, 512 - text.shape[1]))


@pytest.mark.parametrize("spelling", ["single", "diffusers"])
@torch.no_grad()
def test_one_call(spelling: str, tmp_path: Path) -> None:
    reference = twin()
    state = dict(reference.state_dict())
    model = nets.load(published(state) if spelling == "single" else state, tmp_path)
    assert model.family.name == "Cosmos Predict 2"
    assert model.sizes == CosmosSizes(16, 17, 36, 2, 2, 144, 24, 8, (1.0, 4.0, 4.0))
    x, sigma, text = torch.randn(2, 16, 1, 6, 10), torch.tensor([70.0, 0.3]), torch.randn(1, 9, 24)
    want = reference(x, sigma / (1 + sigma), filled(text).expand(2, -1, -1), padding_mask=NO_FILLING).sample
    assert nets.off(nets.call(model, x, sigma, {"cross_attn": text}), want) < nets.NEAR
    with pytest.raises(BadInput, match=r"7 wide, but this Cosmos Predict 2 model takes 24"):
        nets.call(model, x, sigma, {"cross_attn": torch.zeros(1, 3, 7)})


LARGE: dict[str, Any] = {"width": 5120, "heads": 40, "layers": 36, "hidden": 20480}


@pytest.mark.parametrize(
    ("family", "sizes", "billions"),
    [
        (IMAGE, CosmosSizes(), 1.96),
        (IMAGE, CosmosSizes(**LARGE), 14.2),
        (FILM, CosmosSizes(shown=18, stretch=(1.0, 3.0, 3.0)), 1.96),
        (FILM, CosmosSizes(**LARGE, shown=18, stretch=(20 / 24, 2.0, 2.0)), 14.2),
        (ANIMA, AnimaSizes(), 2.09),
    ],
)
def test_the_published_sizes(family: Any, sizes: CosmosSizes, billions: float) -> None:
    with torch.device("meta"):
        state = family.build(sizes).state_dict()
    assert nets.knowing(state) == [family.name]
    assert family.sizes({key: Entry(tuple(value.shape), value.dtype, 0) for key, value in state.items()}) == sizes
    assert sum(value.numel() for value in state.values()) / 1e9 == pytest.approx(billions, rel=0.01)


@torch.no_grad()
def test_frames_that_are_known(tmp_path: Path) -> None:
    reference = twin(TOLD)
    model = nets.load(published(dict(reference.state_dict())), tmp_path)
    assert model.family.name == "Cosmos Predict 2 from pictures" and model.sizes.stretch == (1.0, 3.0, 3.0)
    x, clean, sigma, text = torch.randn(1, 16, 3, 4, 6), torch.randn(1, 16, 3, 4, 6), torch.tensor([3.0]), torch.randn(1, 9, 24)
    known = torch.zeros(1, 1, 3, 4, 6)
    known[:, :, :1] = 1
    t = (sigma / (1 + sigma)).reshape(1, 1, 1, 1, 1) * (1 - known.mean(dim=(1, 3, 4), keepdim=True))
    shown = x * (1 - known) + clean * known
    want = reference(shown, t, filled(text), condition_mask=known, padding_mask=NO_FILLING).sample
    told = {"cross_attn": text, "denoise_mask": 1 - known, "latent_image": clean}
    assert nets.off(nets.call(model, x, sigma, told), want) < nets.NEAR
    blind = reference(x, t[:, :, 1:2].flatten(), filled(text), condition_mask=0 * known, padding_mask=NO_FILLING).sample
    assert nets.off(nets.call(model, x, sigma, {"cross_attn": text}), blind) < nets.NEAR


def test_whole_latent(tmp_path: Path) -> None:
    """From the prompt's tokens; the pipeline counts its scale from one prompt to the other, ours from nothing."""
    reference = twin(std=0.1)
    vae = AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    pipeline = Cosmos2TextToImagePipeline(None, None, reference, vae, scheduler, Checker())
    pipeline.set_progress_bar_config(disable=True)
    text, other = (filled(torch.randn(1, length, 24)) for length in (9, 5))
    noise = prepare_noise(torch.zeros(1, 16, 1, 6, 8), 7)
    told = {"prompt_embeds": text, "negative_prompt_embeds": other, "guidance_scale": 2.0, "num_inference_steps": 4}
    want = pipeline(**told, height=48, width=64, latents=noise, output_type="latent").images
    model = nets.load(published(dict(reference.state_dict())), tmp_path)
    got = nets.solved(CfgGuider(model, [[text, {}]], [[other, {}]], 3.0), noise, scheduler.sigmas)
    assert nets.apart(got[:, :, 0], want) < 1e-4 and want.abs().max() < 20


def test_a_film_from_its_first_frame(tmp_path: Path) -> None:
    """Through the node that makes its latent. Both are told no number of frames a second."""
    reference = twin(TOLD, std=0.1)
    torch.manual_seed(3)
    vae = AutoencoderKLWan(base_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    scheduler = FlowMatchEulerDiscreteScheduler(use_karras_sigmas=True)
    pipeline = Cosmos2VideoToWorldPipeline(None, None, reference, vae, scheduler, Checker())
    pipeline.set_progress_bar_config(disable=True)
    text, other = (filled(torch.randn(1, length, 24)) for length in (9, 5))
    noise, image = prepare_noise(torch.zeros(1, 16, 3, 4, 6), 7), torch.rand(1, 32, 48, 3)
    told = {"prompt_embeds": text, "negative_prompt_embeds": other, "guidance_scale": 2.0, "num_inference_steps": 4, "fps": None}
    shown = {"image": image.movedim(-1, 1), "height": 32, "width": 48, "num_frames": 9, "sigma_conditioning": 0.0}
    vae.encode = partial(first_of, vae.encode)
    want = pipeline(**told, **shown, latents=noise, output_type="latent").frames

    save_safetensors(tmp_path / "vae.safetensors", {key: value.contiguous() for key, value in vae.state_dict().items()})
    ours = load_vae(tmp_path / "vae.safetensors", tiny.services(tmp_path))
    ctx: Any = SimpleNamespace(node="9", services=SimpleNamespace(pool=Pool("cpu")), check=None)
    begun = cosmos_predict2_image_to_video_latent(ctx, vae=ours, width=48, height=32, length=9, batch_size=1, start_image=image)
    assert begun["noise_mask"][0, 0, :, 0, 0].tolist() == [0, 1, 1]
    model = nets.load(published(dict(reference.state_dict())), tmp_path)
    guider = CfgGuider(model, [[text, {}]], [[other, {}]], 3.0)
    got = sample(guider, noise, begun["samples"], solver("euler"), scheduler.sigmas, begun["noise_mask"], pool=Pool("cpu"))
    got = WAN.process_in(got)
    assert nets.apart(got[:, :, 1:], want[:, :, 1:]) < 1e-4 and want.abs().max() < 20
    assert nets.apart(got[:, :, :1], WAN.process_in(begun["samples"][:, :, :1])) < 0.01  # the last step leaves a little noise


def first_of(encode: Any, film: Tensor) -> Any:
    """The middle of what the autoencoder is unsure of, which the pipeline would draw from."""
    return SimpleNamespace(latents=encode(film).latent_dist.mode())

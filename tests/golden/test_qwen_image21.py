"""Qwen Image 2.1 against diffusers: the net, with pictures too, its autoencoder, whole latents with what comes first kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers import AutoencoderKLQwenImage21, QwenImage21Transformer2DModel
from torch import Tensor

from backend.base.errors import BadInput
from backend.codecs.residual.net import ResidualAutoencoder, ResidualSizes
from backend.codecs.wan.names import levels_from_diffusers as from_diffusers
from backend.diffusion.guiders import CfgGuider
from backend.diffusion.handle import ModelHandle
from backend.diffusion.latent import QWEN21
from backend.diffusion.sample import sample
from backend.diffusion.samplers import solver
from backend.encoders.lm.handle import LmHandle
from backend.encoders.lm.makes import MAKES
from backend.encoders.vocabularies import QWEN, vocabulary
from backend.families.load import load_diffusion_model, load_vae
from backend.families.qwen_image21.net import Qwen21Sizes
from backend.families.qwen_image21.texts import QWEN_IMAGE_21
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.qwen21 import fitted, qwen_image_21_cache, starts
from tests.families import tiny
from tests.families.waits import unasked

POOL, TEXT = Pool("cpu"), 20


def net() -> QwenImage21Transformer2DModel:
    torch.manual_seed(31)
    made = QwenImage21Transformer2DModel(
        num_layers=2, attention_head_dim=32, num_attention_heads=2, context_in_dim=TEXT, axes_dims_rope=(4, 14, 14)
    ).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name and parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def single(theirs: QwenImage21Transformer2DModel) -> dict[str, Tensor]:
    """As the single files have it: both halves of a perceptron in one."""
    state = dict(theirs.state_dict())
    for key in [key for key in state if key.endswith("img_mlp.gate_layer.weight")]:
        start = key.removesuffix("gate_layer.weight")
        state[f"{start}gate_up.weight"] = torch.cat([state.pop(key), state.pop(f"{start}proj.weight")])
    return {f"model.diffusion_model.{key}": value for key, value in state.items()}


@pytest.fixture(scope="module")
def theirs() -> QwenImage21Transformer2DModel:
    return net()


@pytest.fixture(scope="module")
def model(theirs: QwenImage21Transformer2DModel, tmp_path_factory: pytest.TempPathFactory) -> ModelHandle:
    path = tmp_path_factory.mktemp("net")
    save_safetensors(path / "m.safetensors", single(theirs))
    theirs.save_pretrained(path / "folder")
    folder = load_diffusion_model(path / "folder", tiny.services(path))
    found = load_diffusion_model(path / "m.safetensors", tiny.services(path))
    assert folder.sizes == found.sizes == Qwen21Sizes(64, 64, 2, 2, TEXT, 192)
    name = "transformer_blocks.1.img_mlp.gate_up.weight"
    assert torch.equal(folder.loadable.source[name], found.loadable.source[name])
    return found


def packed(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def run(model: ModelHandle, x: Tensor, t: Tensor, **cond: Any) -> Tensor:
    with torch.inference_mode(), POOL.lease(model.leasable()) as leased:
        made = model.family.inputs([cond], model.sizes, x.shape)
        batch = {key: value.expand(len(x), *value.shape[1:]) for key, value in made.items()}
        with unasked(x, t, batch):
            return model.family.forward(leased, x, t, batch)


@torch.no_grad()
def test_pictures_from_text(theirs: QwenImage21Transformer2DModel, model: ModelHandle) -> None:
    assert model.family.name == "Qwen Image 2.1"
    x, t, text = torch.randn(2, 64, 6, 4), torch.tensor([0.8, 0.3]), torch.randn(1, 7, TEXT)
    slots = torch.cat([torch.zeros(2, 7), torch.ones(2, 6)], dim=1).bool()
    expected = theirs(packed(x), text.expand(2, -1, -1), t, [[(1, 6, 4)]] * 2, slots).sample[:, -24:]
    assert (packed(run(model, x, t, cross_attn=text)) - expected).abs().max() < 1e-5


@torch.no_grad()
def test_pictures_to_look_at(theirs: QwenImage21Transformer2DModel, model: ModelHandle) -> None:
    x, t, text = torch.randn(1, 64, 4, 6), torch.tensor([0.5]), torch.randn(1, 12, TEXT)
    seen = [torch.randn(1, 64, 4, 4), torch.randn(1, 64, 2, 6)]
    slots = torch.zeros(1, 12 + 6).bool()
    slots[:, 2:6] = slots[:, 7:10] = slots[:, 12:] = True
    tokens = torch.cat([packed(picture) for picture in (*seen, x)], dim=1)
    expected = theirs(tokens, text, t, [[(1, 4, 4), (1, 2, 6), (1, 4, 6)]], slots).sample[:, -24:]
    told = {"reference_latents": [QWEN21.process_out(picture) for picture in seen], "picture_tokens": [2, 7]}
    assert (packed(run(model, x, t, cross_attn=text, **told)) - expected).abs().max() < 1e-5
    with pytest.raises(BadInput, match="speaks of 1 pictures, and 2 reference latents"):
        run(model, x, t, cross_attn=text, **{**told, "picture_tokens": [2]})
    with pytest.raises(BadInput, match=r"7 wide.*takes 20"):
        run(model, x, t, cross_attn=torch.zeros(1, 3, 7))


@torch.no_grad()
def test_what_comes_first_is_kept(model: ModelHandle) -> None:
    ctx: Any = SimpleNamespace(node="5")
    noise, long, short = torch.randn(1, 64, 4, 4), torch.randn(1, 6, TEXT), torch.randn(1, 3, TEXT)
    sigmas = torch.tensor([1.0, 0.7, 0.4, 0.0])

    def made(model: ModelHandle) -> Tensor:
        guider = CfgGuider(model, [[long, {}]], [[short, {}]], 2.0)
        return sample(guider, noise, torch.zeros_like(noise), solver("euler"), sigmas, pool=POOL)

    kept = qwen_image_21_cache(ctx, model=model, device="cpu", dtype="default")
    assert (made(kept) - made(model)).abs().max() < 1e-5
    assert not kept.taps["prefix_cache"][0]._kept
    sd = load_diffusion_model_of_sd()
    with pytest.raises(BadInput, match=r"only Qwen Image 2\.1"):
        qwen_image_21_cache(ctx, model=sd, device="auto", dtype="default")


def load_diffusion_model_of_sd() -> ModelHandle:
    family: Any = SimpleNamespace(name="Stable Diffusion 1")
    return ModelHandle(cast(Any, None), family, None, cast(Any, None))


def test_the_usual_empty_latent_is_made_fit() -> None:
    assert QWEN21.adapt_empty(torch.zeros(2, 4, 128, 96)).shape == (2, 64, 64, 48)


@torch.no_grad()
def test_autoencoder(tmp_path: Path) -> None:
    torch.manual_seed(32)
    theirs = AutoencoderKLQwenImage21(
        base_dim=8, decoder_base_dim=12, z_dim=4, dim_mult=[1, 2, 2], num_res_blocks=1, temperal_downsample=[False, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4, is_residual=True,
    ).eval()  # fmt: skip
    theirs.save_pretrained(tmp_path / "vae")
    state = theirs.state_dict()
    save_safetensors(tmp_path / "m.safetensors", {name: state[key] for name, key in from_diffusers(state).items()})
    picture = torch.rand(2, 32, 16, 4)
    x = (picture * 2 - 1).movedim(-1, 1)
    for path in (tmp_path / "vae", tmp_path / "m.safetensors"):
        vae = load_vae(path, tiny.services(tmp_path))
        assert vae.sizes == ResidualSizes(8, 12, (1, 2, 2), 1, 4, 4, (False, True)) and vae.factor == 4
        with POOL.lease(vae.loadable) as leased:
            assert isinstance(leased, ResidualAutoencoder)
            assert (leased.encode(x) - theirs.encode(x.unsqueeze(2)).latent_dist.mean[:, :, 0]).abs().max() < 1e-5
            z = torch.randn(2, 4, 4, 3)
            assert (leased.decode(z).clamp(-1, 1) - theirs.decode(z.unsqueeze(2)).sample[:, :, 0]).abs().max() < 1e-5
    assert torch.equal(vae.encode(picture[..., :3], POOL), vae.encode(torch.cat([picture[..., :3], torch.ones(2, 32, 16, 1)], -1), POOL))


def test_where_pictures_stand_in_a_prompt() -> None:
    handle = LmHandle(cast(Any, None), cast(Any, None), next(m for m in MAKES if m.name == "Qwen 3 VL"), vocabulary(QWEN), "qwen3vl_8b")
    clip = QWEN_IMAGE_21.join([handle])
    assert isinstance(clip, LmHandle)
    entries = clip.tokenize("a fox")[clip.branch][0]
    dropped = clip.reading.dropped([entry[0] for entry in entries])
    told = clip.tokenizer.decode([entry[0] for entry in entries[dropped:]], skip_special_tokens=False)
    assert told == "<|im_start|>user\na fox<|im_end|>\n<|im_start|>assistant\n"
    picture: Any = ({"type": "image"}, 1.0)
    assert starts([(1, 1.0), (2, 1.0), (3, 1.0), picture, (4, 1.0), picture], [6, 4], 1) == [2, 9]
    assert fitted(torch.rand(1, 300, 200, 4), 512).shape == (1, 640, 416, 4)

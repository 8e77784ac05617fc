"""Wan's transformer against diffusers, through the real loader, and what it is shown of a film."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.handle import ModelHandle
from backend.diffusion.latent import WAN
from backend.families.load import load_diffusion_model
from backend.families.wan import TEXT
from backend.families.wan.names import from_diffusers, to_diffusers
from backend.families.wan.net import WanSizes
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.wan import scale_rope, wan_image_to_video
from tests.families import tiny
from tests.families.waits import unasked

POOL, WIDTH = Pool("cpu"), 20


def net(picture: bool) -> WanTransformer3DModel:
    torch.manual_seed(41)
    more: dict[str, Any] = {"in_channels": 36, "image_dim": 24, "added_kv_proj_dim": 64} if picture else {}
    made = WanTransformer3DModel(num_attention_heads=2, attention_head_dim=32, text_dim=WIDTH, ffn_dim=48, num_layers=2, **more).eval()
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if "norm" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    return made


def loaded(theirs: WanTransformer3DModel, path: Path) -> ModelHandle:
    state = theirs.state_dict()
    names = from_diffusers(state)
    assert len(names) == len(state)
    save_safetensors(path / "m.safetensors", {f"model.diffusion_model.{name}": state[key] for name, key in names.items()})
    model = load_diffusion_model(path / "m.safetensors", tiny.services(path))
    assert to_diffusers(model.sizes, names) == names
    return model


def run(model: ModelHandle, x: Tensor, t: Tensor, taps: Any = None, **cond: Any) -> Tensor:
    with torch.inference_mode(), POOL.lease(model.leasable()) as leased:
        made: dict[str, Any] = dict(model.family.inputs([cond], model.sizes, x.shape))
        if taps:
            made["taps"], made["facts"] = taps, {}
        with unasked(x, t, made):
            return model.family.forward(leased, x, t, made)


@torch.no_grad()
def test_films_from_text(tmp_path: Path) -> None:
    theirs = net(picture=False)
    model = loaded(theirs, tmp_path)
    assert model.family.name == "Wan" and model.sizes == WanSizes(16, 16, 64, 2, 2, 48, WIDTH)
    x, t, text = torch.randn(1, 16, 3, 6, 4), torch.tensor([700.0]), torch.randn(1, 9, WIDTH)
    expected = theirs(x, t, torch.nn.functional.pad(text, (0, 0, 0, 503))).sample
    assert (run(model, x, t, cross_attn=text) - expected).abs().max() < 1e-5
    theirs.save_pretrained(tmp_path / "folder")
    folder = load_diffusion_model(tmp_path / "folder", tiny.services(tmp_path))
    assert torch.equal(run(folder, x, t, cross_attn=text), run(model, x, t, cross_attn=text))
    with pytest.raises(BadInput, match=r"7 wide.*takes 20"):
        run(model, x, t, cross_attn=torch.zeros(1, 3, 7))


@torch.no_grad()
def test_films_from_a_picture(tmp_path: Path) -> None:
    theirs = net(picture=True)
    model = loaded(theirs, tmp_path)
    assert model.family.name == "Wan image to video" and model.sizes.image == 24
    known, seen = torch.randn(1, 16, 2, 6, 4), torch.randn(1, 5, 24)
    vae: Any = SimpleNamespace(
        channels=16, encode_each=None, encode=lambda film, pool, check: known if film.shape == (5, 48, 32, 3) else None
    )
    vision: Any = SimpleNamespace(penultimate_hidden_states=seen)
    ctx: Any = SimpleNamespace(node="9", services=SimpleNamespace(pool=POOL), check=None)
    text = torch.randn(1, 9, WIDTH)
    begun = wan_image_to_video(
        ctx, positive=[[text, {}]], negative=[[text, {}]], vae=vae, width=32, height=48, length=5, batch_size=1,
        clip_vision_output=vision, start_image=torch.rand(1, 40, 40, 3),
    )  # fmt: skip
    assert begun.latent["samples"].shape == (1, 16, 2, 6, 4)
    x, t = torch.randn(1, 16, 2, 6, 4), torch.tensor([300.0])
    given = torch.zeros(1, 4, 2, 6, 4)
    given[:, :, :1] = 1
    shown = torch.cat([x, given, WAN.process_in(known)], dim=1)
    expected = theirs(shown, t, torch.nn.functional.pad(text, (0, 0, 0, 503)), seen).sample
    assert (run(model, x, t, cross_attn=text, **begun.positive[0][1]) - expected).abs().max() < 1e-5
    assert run(model, x, t, cross_attn=text).shape == x.shape


@torch.no_grad()
def test_places_are_stretched(tmp_path: Path) -> None:
    model = loaded(net(picture=False), tmp_path)
    ctx: Any = SimpleNamespace(node="9")
    even = {"scale_x": 1.0, "shift_x": 0.0, "scale_y": 1.0, "shift_y": 0.0, "shift_t": 0.0}
    x, t, text = torch.randn(1, 16, 2, 4, 4), torch.tensor([300.0]), torch.randn(1, 9, WIDTH)
    far = scale_rope(ctx, model=model, scale_t=7.0, **even)
    same = scale_rope(ctx, model=model, scale_t=1.0, **{**even, "shift_x": 3.0})
    plain = run(model, x, t, cross_attn=text)
    assert (run(model, x, t, far.taps, cross_attn=text) - plain).abs().max() > 1e-4
    assert (run(model, x, t, same.taps, cross_attn=text) - plain).abs().max() < 1e-4  # only distances count
    other = ModelHandle(cast(Any, None), cast(Any, SimpleNamespace(name="Stable Diffusion 1")), None, cast(Any, None))
    with pytest.raises(BadInput, match="for Wan only"):
        scale_rope(ctx, model=other, scale_t=7.0, **even)


def test_text_of_another_encoder_is_not_its_own() -> None:
    assert TEXT.join([cast(Any, SimpleNamespace(branch="umt5xxl"))]) is None

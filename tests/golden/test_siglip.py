"""SigLIP's image encoder against transformers, and what Flux makes of its pictures: Redux's tokens and USO's style."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.pipelines.flux.modeling_flux import ReduxImageEncoder
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import SiglipVisionConfig, SiglipVisionModel

from backend.adapters.patches import load_patch
from backend.adapters.style import load_style_model
from backend.base.errors import BadInput
from backend.encoders.clip_vision.handle import VisionOutput
from backend.families.load import load_diffusion_model, load_vision
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.adapters import style_model_apply
from nodes.flux import uso_style_reference
from tests.families import fluxes, tiny
from tests.nodes.bench import Bench

WIDTH, LAYERS = 32, 20
Siglip: Any = SiglipVisionModel
Redux: Any = ReduxImageEncoder


def twin(tmp_path: Path) -> tuple[Any, Path]:
    torch.manual_seed(0)
    config: Any = SiglipVisionConfig
    net = Siglip(config(
        hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=16, image_size=28, patch_size=14
    )).eval()  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = tmp_path / "sigclip.safetensors"
    state = net.state_dict()
    prefix = "" if next(iter(state)).startswith("vision_model.") else "vision_model."
    save_safetensors(path, {prefix + key: value.contiguous() for key, value in state.items()})
    return net, path


def seen(tmp_path: Path) -> tuple[Any, Tensor, VisionOutput]:
    net, path = twin(tmp_path)
    image = torch.rand(1, 28, 28, 3).mul(255).round() / 255
    found = load_vision(path, tiny.services(tmp_path)).encode_image(image, Pool("cpu"))
    with torch.no_grad():
        out = net(image.movedim(-1, 1) * 2 - 1, output_hidden_states=True)
    return out, image, found


def test_siglip(tmp_path: Path) -> None:
    theirs, _, ours = seen(tmp_path)
    assert (ours.last_hidden_state - theirs.last_hidden_state).abs().max() < 1e-5
    assert (ours.penultimate_hidden_states - theirs.hidden_states[-2]).abs().max() < 1e-5
    assert ours.all_hidden_states is not None and ours.all_hidden_states.shape == (1, LAYERS, 4, WIDTH)
    assert (ours.all_hidden_states - torch.stack(theirs.hidden_states[1:], 1)).abs().max() < 1e-5


def test_redux(tmp_path: Path) -> None:
    theirs, _, ours = seen(tmp_path)
    redux = Redux(redux_dim=WIDTH, txt_in_features=fluxes.TEXT)
    save_safetensors(tmp_path / "redux.safetensors", redux.state_dict())
    model = load_style_model(tmp_path / "redux.safetensors", tiny.services(tmp_path))
    prompt = torch.randn(1, 5, fluxes.TEXT)
    ctx = Bench(tmp_path / "home").context()
    named: Any = {"style_model": model, "clip_vision_output": ours, "strength": 1.0, "strength_type": "multiply"}
    made = style_model_apply(ctx, conditioning=[[prompt, {}]], **named)[0][0]
    with torch.no_grad():
        want = redux(theirs.last_hidden_state).image_embeds
    assert (made[:, 5:] - want).abs().max() < 1e-5 and torch.equal(made[:, :5], prompt)


class Reference(nn.Module):
    """USO's projector as its authors describe it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("low", "mid", "high"):
            self.add_module(f"{name}_embedding_linear", nn.Sequential(nn.Linear(4, 3), nn.SiLU()))
            self.add_module(f"{name}_layer_norm", nn.LayerNorm(WIDTH))
            self.add_module(f"{name}_projection", nn.Linear(WIDTH, width))

    def forward(self, states: dict[str, Tensor]) -> Tensor:
        get = self.get_submodule
        parts = []
        for name in ("high", "mid", "low"):
            fewer = get(f"{name}_embedding_linear")(states[name].transpose(1, 2)).transpose(1, 2)
            parts.append(get(f"{name}_projection")(get(f"{name}_layer_norm")(fewer)))
        return torch.cat(parts, dim=1)


@torch.no_grad()
def test_uso(tmp_path: Path) -> None:
    theirs, _, ours = seen(tmp_path)
    services, pool = tiny.services(tmp_path), Pool("cpu")
    reference = Reference(64)
    save_safetensors(tmp_path / "uso.safetensors", {f"feature_embedder.{key}": value for key, value in reference.state_dict().items()})
    patch, model = load_patch(tmp_path / "uso.safetensors", services), load_diffusion_model(fluxes.saved("Flux", tmp_path), services)
    ctx = Bench(tmp_path / "home").context()
    styled = uso_style_reference(ctx, model=model, model_patch=patch, clip_vision_output=ours)
    states = {"low": theirs.hidden_states[-20], "mid": theirs.hidden_states[-11], "high": theirs.hidden_states[-2]}
    x, context = torch.randn(1, 16, 6, 8), torch.randn(1, 5, fluxes.TEXT)
    told = model.family.inputs([{"cross_attn": context}], model.sizes, x.shape)
    with pool.lease(styled.leasable()) as net:
        got = model.family.forward(net, x, torch.tensor([0.7]), told | {"taps": styled.net_taps(), "facts": {}})
    theirs_net = fluxes.net("Flux")
    style = reference(states)
    handle = theirs_net.context_embedder.register_forward_hook(lambda module, args, out: torch.cat([style, out], 1))
    try:
        rows, columns = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
        ids = torch.stack([torch.zeros_like(rows), rows, columns], -1).reshape(-1, 3).float()
        tokens = F.pixel_unshuffle(x, 2).flatten(2).transpose(1, 2)
        want = theirs_net(
            tokens, context, torch.zeros(1, fluxes.POOLED), torch.tensor([0.7]), ids, torch.zeros(14, 3), torch.tensor([3.5])
        ).sample
    finally:
        handle.remove()
    assert (F.pixel_unshuffle(got, 2).flatten(2).transpose(1, 2) - want).abs().max() < 1e-5
    plain = VisionOutput(None, ours.last_hidden_state, ours.penultimate_hidden_states)
    with pytest.raises(BadInput, match="looks at 4 places 32 wide"):
        uso_style_reference(ctx, model=model, model_patch=patch, clip_vision_output=plain)
    other = load_diffusion_model(tiny.make().folder(tmp_path / "sd") / "unet", services)
    with pytest.raises(BadInput, match="does not fit a Stable Diffusion 1 model"):
        uso_style_reference(ctx, model=other, model_patch=patch, clip_vision_output=ours)

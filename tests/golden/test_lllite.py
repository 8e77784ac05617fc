"""ControlNet-LLLite against its formula, written out as hooks on the layers of diffusers' nets; windows, spellings, and what is refused."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from backend.adapters.patches import Picture, load_patch
from backend.adapters.patches.lllite import LLLite
from backend.adapters.places import attention_places, module_at
from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.diffusion.companions import together
from backend.diffusion.handle import ModelHandle
from backend.families.load import load_checkpoint, load_diffusion_model
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.model_patch_files import anima_lllite_apply
from tests.families import kinds, nets, tiny
from tests.golden import test_anima, test_cosmos

STRENGTH = 0.7
COND = {"cross_attn": torch.linspace(-1, 1, 9 * 24).reshape(1, 9, 24), "t5xxl_ids": torch.arange(3, 9)}
ATTENTION = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "cross_attn.q_proj")


class Lite(nn.Module):
    """A module as it was published: what the picture is to a layer, and what is added to the layer's input."""

    def __init__(self, width: int, cells: int, own: bool = True) -> None:
        super().__init__()
        steps = [4, 4, 2] if cells == 32 else [4, cells // 4]
        convs: list[nn.Module] = []
        for i, side in enumerate(steps):
            convs += [nn.Conv2d(3 if not i else 4, 8 if i == len(steps) - 1 else 4, side, side), nn.ReLU()]
        if own:
            self.conditioning1 = nn.Sequential(*convs[:-1])
        self.down = nn.Sequential(nn.Linear(width, 6), nn.ReLU())
        self.mid = nn.Sequential(nn.Linear(6 + 8, 6), nn.ReLU())
        self.up = nn.Sequential(nn.Linear(6, width))

    def forward(self, x: Tensor, image: Tensor, eye: nn.Module | None = None) -> Tensor:
        seen = (eye or self.conditioning1)(image.movedim(-1, 1) * 2 - 1).flatten(2).transpose(1, 2)
        seen = seen.repeat(len(x) // len(seen), 1, 1)
        return x + STRENGTH * self.up(self.mid(torch.cat([seen, self.down(x)], dim=2)))


def written(modules: dict[str, nn.Module], path: Path) -> LLLite:
    state = {f"{name}.{key}": value.contiguous() for name, module in modules.items() for key, value in module.state_dict().items()}
    save_safetensors(path / "lite.safetensors", state)
    patch = load_patch(path / "lite.safetensors", tiny.services(path))
    assert isinstance(patch, LLLite)
    return patch


def hooked(reference: nn.Module, layers: Iterable[tuple[str, Callable[[Tensor], Tensor]]]) -> None:
    for name, change in layers:
        reference.get_submodule(name).register_forward_pre_hook(lambda _, args, change=change: (change(args[0]), *args[1:]))


def anima(path: Path) -> tuple[nn.Module, ModelHandle, Callable[..., Tensor]]:
    """The reference net, ours, and the reference's answer to COND."""
    net, condition = test_cosmos.twin(std=0.1), test_anima.adapter(0.1)
    model = nets.load(test_anima.published(net, condition), path)
    told = condition(COND["cross_attn"], COND["t5xxl_ids"][None])

    def answer(x: Tensor, sigma: Tensor) -> Tensor:
        out: Tensor = net(x, sigma, told.expand(len(x), -1, -1), padding_mask=test_cosmos.NO_FILLING).sample
        return out

    return net, model, answer


@pytest.mark.parametrize("spelling", ["lllite_dit_", "lllite_unet_", "lllite_", "", "lllite.", "shared", "diffusers"])
@torch.no_grad()
def test_steered_anima(spelling: str, tmp_path: Path) -> None:
    net, model, answer = anima(tmp_path)
    layers = ["blocks.0.self_attn.q_proj", "blocks.1.self_attn.v_proj", "blocks.1.cross_attn.q_proj", "blocks.1.mlp.layer1"]
    theirs = {name: str(model.spellings()[f"{name}.weight"]).removesuffix(".weight") for name in layers}
    shared = spelling == "shared"
    lites = {name: nets.randomised(Lite(36, 16, own=not shared), i) for i, name in enumerate(layers)}
    eye = nets.randomised(Lite(36, 16), 9).conditioning1
    start = "lllite_dit_" if spelling in ("shared", "diffusers") else spelling
    files = {start + (theirs[name] if spelling == "diffusers" else name).replace(".", "_"): lite for name, lite in lites.items()}
    patch = written(files | ({"lllite_conditioning1": eye} if shared else {}), tmp_path)
    image = torch.rand(1, 48, 80, 3)
    hooked(net, [(theirs[name], lambda x, lite=lite: lite(x, image, eye if shared else None)) for name, lite in lites.items()])
    x, sigma = torch.randn(2, 16, 1, 6, 10), torch.tensor([0.7, 0.7])
    steered = patch.steered(model, Picture(None, image, STRENGTH))
    with together(steered, {}, Pool("cpu")) as companions:
        got = nets.call(steered, x, sigma, COND, taps=companions.taps, facts={"sigmas": sigma})
    assert nets.off(got, answer(x, sigma)) < nets.NEAR
    assert nets.off(got, nets.call(model, x, sigma, COND)) > 1e-3


@torch.no_grad()
def test_steered_sdxl(tmp_path: Path) -> None:
    model = load_checkpoint(kinds.make("sdxl").single(tmp_path / "m.safetensors"), tiny.services(tmp_path)).model
    assert model is not None
    unet: Any = copy.deepcopy(kinds.make("sdxl").unet)
    image, lites, changes = torch.rand(1, 128, 64, 3), {}, []
    for place, width in attention_places(model.sizes):
        for layer in ("attn1.to_q", "attn1.to_k", "attn1.to_v", "attn2.to_q"):
            name = f"{module_at(place)}.{layer}"
            cells = 8 << model.sizes.channels.index(width)
            lite = lites["lllite_unet_" + name.replace(".", "_")] = nets.randomised(Lite(width, cells), len(lites))
            theirs = str(model.spellings()[f"{name}.weight"]).removesuffix(".weight")
            changes.append((theirs, lambda x, lite=lite: lite(x, image)))
    x, t, text = torch.randn(2, 4, 16, 8), torch.tensor([300.0, 300.0]), torch.randn(2, 7, 128)
    pooled, ids = torch.randn(2, 32), torch.tensor([[64.0, 128, 0, 8, 64, 128]] * 2)
    y = torch.cat([pooled, unet.add_time_proj(ids.flatten()).reshape(2, -1)], dim=1)
    told: dict[str, Any] = {"added_cond_kwargs": {"text_embeds": pooled, "time_ids": ids}}
    plain = unet(x, t, text, **told).sample
    hooked(unet, changes)
    want = unet(x, t, text, **told).sample
    steered = written(lites, tmp_path).steered(model, Picture(None, image, STRENGTH, end=0.5))
    half = model.noise.percent_to_sigma(0.5)
    with together(steered, {}, Pool("cpu")) as companions, Pool("cpu").lease(steered.leasable()) as leased:
        net: Any = leased
        early, late = (net(x, t, text, y, taps=companions.taps, facts={"sigmas": torch.tensor([half + d])}) for d in (1.0, -1.0))
    assert nets.off(early, want) < nets.NEAR and nets.off(late, plain) < nets.NEAR and nets.off(want, plain) > 1e-3


def test_each_prompt_sees_the_pictures_from_the_first(tmp_path: Path) -> None:
    _, model, _ = anima(tmp_path)
    patch = written({"lllite_dit_blocks_0_self_attn_q_proj": nets.randomised(Lite(36, 16), 1)}, tmp_path)
    steered = patch.steered(model, Picture(None, torch.rand(2, 32, 32, 3), STRENGTH))
    x, sigma = torch.randn(3, 16, 1, 4, 4), torch.tensor([0.7])
    with together(steered, {}, Pool("cpu")) as companions:
        run: Any = partial(nets.call, steered, cond=COND, taps=companions.taps)
        one = run(x, sigma.expand(3), facts={"sigmas": sigma, "cond_or_uncond": [0]})
        two = run(torch.cat([x, x]), sigma.expand(6), facts={"sigmas": sigma, "cond_or_uncond": [0, 1]})
    assert nets.apart(two, torch.cat([one, one])) < 1e-5


def test_the_node(tmp_path: Path) -> None:
    _, model, _ = anima(tmp_path)
    patch = written({"lllite_dit_blocks_0_self_attn_q_proj": Lite(36, 16)}, tmp_path)
    said: list[str] = []
    ctx: Any = SimpleNamespace(node="9", log=said.append)
    given: dict[str, Any] = {"model": model, "model_patch": patch, "image": torch.zeros(1, 8, 8, 3)}
    steered = anima_lllite_apply(ctx, **given, strength=1.0, start_percent=0.0, end_percent=1.0)
    assert len(steered.taps["linear_input"]) == 1 and not said
    assert anima_lllite_apply(ctx, **given, strength=0.0, start_percent=0.0, end_percent=1.0) is model
    assert anima_lllite_apply(ctx, **given, strength=1.0, start_percent=0.5, end_percent=0.5) is model
    anima_lllite_apply(ctx, **given, mask=torch.zeros(1, 8, 8), strength=1.0, start_percent=0.0, end_percent=1.0)
    assert "mask has no effect" in said[0]
    other: Any = SimpleNamespace(title="The model patch x, which is for Z-Image,")
    with pytest.raises(BadInput, match="is for Z-Image, is no ControlNet-LLLite") as caught:
        anima_lllite_apply(ctx, **{**given, "model_patch": other}, strength=1.0, start_percent=0.0, end_percent=1.0)
    assert caught.value.where.input == "model_patch" and caught.value.where.node == "9"


def test_what_is_refused(tmp_path: Path) -> None:
    _, model, _ = anima(tmp_path)
    picture = Picture(None, torch.zeros(1, 8, 8, 3), 1.0)
    name = "lllite_dit_blocks_0_self_attn_q_proj"
    with pytest.raises(BadInput, match="steers the layer unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q, which is none of Anima"):
        written({"lllite_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q": Lite(36, 16)}, tmp_path).steered(model, picture)
    with pytest.raises(BadInput, match="which is none of Anima"):
        written({"lllite_dit_blocks_0_cross_attn_k_proj": Lite(24, 16)}, tmp_path).steered(model, picture)
    with pytest.raises(BadInput, match=r"layers 20 wide; blocks\.0\.self_attn\.q_proj of this Anima model is 36 wide"):
        written({name: Lite(20, 16)}, tmp_path).steered(model, picture)
    with pytest.raises(BadInput, match="cells of 32 pixels; Anima works in cells of 16"):
        written({name: Lite(36, 32)}, tmp_path).steered(model, picture)
    with pytest.raises(BadInput, match="needs a control picture"):
        written({name: Lite(36, 16)}, tmp_path).steered(model, Picture(None, None, 1.0))
    with pytest.raises(UnknownModel, match=r"make that is not known: what its tensor lllite_depth_embeds\.\w+ does"):
        written({name: Lite(36, 16), "lllite_depth_embeds": nn.Linear(2, 2)}, tmp_path)
    with pytest.raises(UnknownModel, match=r"what its tensor \S+ does"):
        written(
            {name: Lite(36, 16, own=False), "conditioning1": Lite(36, 16).conditioning1, "cond_more": Lite(36, 16).conditioning1}, tmp_path
        )
    four = Lite(36, 16)
    four.conditioning1[0] = nn.Conv2d(4, 4, 4, 4)
    with pytest.raises(UnknownModel, match=r"what its tensor \S+conditioning1\.0\.weight does"):
        written({name: four}, tmp_path)
    save_safetensors(tmp_path / "m.safetensors", {f"{name}.{k}": v for k, v in Lite(36, 16).state_dict().items() if "up" not in k})
    with pytest.raises(BadFile, match=r"the weight parts\.dit_blocks_0_self_attn_q_proj\.up"):
        load_patch(tmp_path / "m.safetensors", tiny.services(tmp_path))
    with pytest.raises(UnknownModel, match="is a ControlNet-LLLite, not a diffusion model"):
        load_diffusion_model(tmp_path / "lite.safetensors", tiny.services(tmp_path))

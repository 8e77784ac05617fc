"""IP-Adapters of every kind through file, projection and taps, against diffusers' UNet with the same file."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.adapters.ip.apply import Embeds, Wish, with_pictures
from backend.adapters.ip.spec import load_ip_adapter
from backend.adapters.places import attention_places
from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from tests.families import tiny
from tests.families.tiny import services

CONTEXT, CLIP, FACE = 64, 128, 32


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape) / math.sqrt(shape[-1])


def perceiver(prefix: str, cin: int, width: int) -> dict[str, Tensor]:
    made = {"proj_in.weight": rand(width, cin), "proj_in.bias": rand(width), "proj_out.weight": rand(CONTEXT, width)}
    made |= {"proj_out.bias": rand(CONTEXT), "norm_out.weight": rand(CONTEXT), "norm_out.bias": rand(CONTEXT)}
    for i in range(4):
        one = f"layers.{i}."
        made |= {f"{one}0.norm{n}.{leaf}": rand(width) for n in (1, 2) for leaf in ("weight", "bias")}
        made |= {f"{one}0.to_q.weight": rand(width, width), f"{one}0.to_kv.weight": rand(2 * width, width)}
        made |= {f"{one}0.to_out.weight": rand(width, width), f"{one}1.0.weight": rand(width), f"{one}1.0.bias": rand(width)}
        made |= {f"{one}1.1.weight": rand(4 * width, width), f"{one}1.3.weight": rand(width, 4 * width)}
    return {prefix + name: value for name, value in made.items()}


def layer(name: str, cout: int, cin: int) -> dict[str, Tensor]:
    return {f"{name}.weight": rand(cout, cin), f"{name}.bias": rand(cout)}


def norm(name: str) -> dict[str, Tensor]:
    return {f"{name}.weight": rand(CONTEXT), f"{name}.bias": rand(CONTEXT)}


FACE_TOKENS: Callable[[], dict[str, Tensor]] = lambda: (  # noqa: E731
    layer("proj.0", FACE * 2, FACE) | layer("proj.2", CONTEXT * 4, FACE * 2) | norm("norm")
)
KINDS: dict[str, Callable[[], dict[str, Tensor]]] = {
    "base": lambda: layer("proj", CONTEXT * 4, CLIP) | norm("norm"),
    "plus": lambda: {"latents": torch.randn(1, 6, 128)} | perceiver("", CLIP, 128),
    "full": lambda: layer("proj.0", CLIP, CLIP) | layer("proj.2", CONTEXT, CLIP) | norm("proj.3"),
    "face": FACE_TOKENS,
    "face plus": lambda: FACE_TOKENS() | perceiver("perceiver_resampler.", CLIP, CONTEXT),
}
# "full" in diffusers counts the patches of its own image encoder
POSITIONS = 257


def state(kind: str, widths: list[int], seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    made = {f"image_proj.{name}": value for name, value in KINDS[kind]().items()}
    for i, width in enumerate(widths):
        made |= {f"ip_adapter.{2 * i + 1}.to_{p}_ip.weight": rand(width, CONTEXT) for p in ("k", "v")}
    return made


def inputs(kind: str, count: int = 1) -> tuple[Tensor, Tensor | None]:
    torch.manual_seed(9)
    if kind in ("plus", "full"):
        return torch.randn(count, POSITIONS, CLIP), None
    if kind == "base":
        return torch.randn(count, CLIP), None
    return torch.randn(count, FACE), torch.randn(count, POSITIONS, CLIP) if kind == "face plus" else None


@pytest.fixture
def model(tmp_path: Path) -> ModelHandle:
    loaded = load_checkpoint(tiny.make().single(tmp_path / "tiny.safetensors"), services(tmp_path)).model
    assert loaded is not None
    return loaded


def predicted(model: ModelHandle, x: Tensor, t: Tensor, text: Tensor, roles: tuple[int, ...] = (0,)) -> Tensor:
    facts = {"cond_or_uncond": list(roles), "sigmas": torch.tensor([1.0])}
    with Pool("cpu").lease(model.leasable()) as net, torch.inference_mode():
        return net(x, t, text, taps=model.net_taps(), facts=facts)  # type: ignore[no-any-return]


def reference(files: list[dict[str, Tensor]], scales: list[Any]) -> Any:
    """diffusers' UNet with these adapters; a private copy of the shared twin."""
    import copy

    unet = copy.deepcopy(tiny.make().unet)
    nested = []
    for file in files:
        sides: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for key, value in file.items():
            side, _, name = key.partition(".")
            sides[side][name] = value
        nested.append(sides)
    unet._load_ip_adapter_weights(nested)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = scales
    return unet.eval()


def widths(model: ModelHandle) -> list[int]:
    return [width for _, width in attention_places(model.sizes)]


@pytest.mark.parametrize("kind", list(KINDS))
def test_each_kind(kind: str, model: ModelHandle, tmp_path: Path) -> None:
    weights = state(kind, widths(model))
    save_safetensors(tmp_path / "ip.safetensors", {key: value.contiguous() for key, value in weights.items()})
    adapter = load_ip_adapter(tmp_path / "ip.safetensors", services(tmp_path))
    assert adapter.sizes.projection == kind
    picture, states = inputs(kind)
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([7.0, 500.0]), torch.randn(2, 77, CONTEXT)
    unet = reference([weights], [0.7])
    if states is not None:
        unet.encoder_hid_proj.image_projection_layers[0].clip_embeds = states[:, None]
    with torch.no_grad():
        given = picture[:, None].repeat(2, 1, *[1] * (picture.ndim - 1))
        if states is not None:
            unet.encoder_hid_proj.image_projection_layers[0].clip_embeds = states[:, None].repeat(2, 1, 1, 1)
        expected = unet(x, t, text, added_cond_kwargs={"image_embeds": [given]}, return_dict=False)[0]
    embeds = Embeds(picture, torch.zeros_like(picture), states, states)
    patched = with_pictures(model, adapter, embeds, Wish(0.7), Pool("cpu"))
    assert (predicted(patched, x, t, text) - expected).abs().max() < 1e-5
    assert (predicted(model, x, t, text) - expected).abs().max() > 1e-4


def test_two_adapters_a_mask_and_two_pictures(model: ModelHandle, tmp_path: Path) -> None:
    files = [state("base", widths(model), 1), state("plus", widths(model), 2)]
    mask = torch.zeros(1, 8, 8)
    mask[:, :, 4:] = 1
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, CONTEXT)
    two, one = inputs("base", 2)[0], inputs("plus")[0]
    unet = reference(files, [0.7, 0.4])
    both_given = {"image_embeds": [two[None, :1], one[None]]}
    masks = {"ip_adapter_masks": [torch.ones(1, 1, 8, 8), mask[:, None]]}
    with torch.no_grad():
        expected = unet(x, t, text, added_cond_kwargs=both_given, cross_attention_kwargs=masks, return_dict=False)[0]
        unmasked = unet(x, t, text, added_cond_kwargs={"image_embeds": [two[None], one[None]]}, return_dict=False)[0]
    adapters = []
    for i, weights in enumerate(files):
        save_safetensors(tmp_path / f"ip{i}.safetensors", {key: value.contiguous() for key, value in weights.items()})
        adapters.append(load_ip_adapter(tmp_path / f"ip{i}.safetensors", services(tmp_path)))
    pool = Pool("cpu")
    first = with_pictures(model, adapters[0], Embeds(two[:1], two[:1]), Wish(0.7), pool)
    both = with_pictures(first, adapters[1], Embeds(one, one), Wish(0.4, mask=mask), pool)
    assert (predicted(both, x, t, text) - expected).abs().max() < 1e-5
    pictures = with_pictures(model, adapters[0], Embeds(two, two), Wish(0.7), pool)
    pictures = with_pictures(pictures, adapters[1], Embeds(one, one), Wish(0.4), pool)
    assert (predicted(pictures, x, t, text) - unmasked).abs().max() < 1e-5


def test_the_negative_sees_the_other_embeds_and_layers_can_be_left_out(model: ModelHandle, tmp_path: Path) -> None:
    weights = state("base", widths(model))
    save_safetensors(tmp_path / "ip.safetensors", {key: value.contiguous() for key, value in weights.items()})
    adapter, pool = load_ip_adapter(tmp_path / "ip.safetensors", services(tmp_path)), Pool("cpu")
    a, b = inputs("base", 2)[0].split(1)
    x, t, text = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, CONTEXT)
    apart = [predicted(with_pictures(model, adapter, Embeds(e, e), Wish(), pool), x, t, text) for e in (a, b)]
    both = with_pictures(model, adapter, Embeds(a, b), Wish(), pool)
    got = predicted(both, x.repeat(2, 1, 1, 1), t.repeat(2), text.repeat(2, 1, 1), (0, 1))
    assert torch.allclose(got, torch.cat(apart), atol=1e-5)
    nowhere = with_pictures(model, adapter, Embeds(a, b), Wish(layers={}), pool)
    later = with_pictures(model, adapter, Embeds(a, b), Wish(start=0.5), pool)
    assert torch.equal(predicted(nowhere, x, t, text), predicted(model, x, t, text))
    assert torch.allclose(predicted(later, x, t, text), predicted(model, x, t, text), atol=1e-6)


def test_weights_by_layer(model: ModelHandle, tmp_path: Path) -> None:
    """As InstantStyle and diffusers' dictionaries of scales have it: what is not named gets none."""
    weights = state("base", widths(model))
    save_safetensors(tmp_path / "ip.safetensors", {key: value.contiguous() for key, value in weights.items()})
    adapter = load_ip_adapter(tmp_path / "ip.safetensors", services(tmp_path))
    places = [place for place, _ in attention_places(model.sizes)]
    up = [place for place in places if place[0] == "output"]
    by_name = {f"up_blocks.1.attentions.{i}.": scale for i, scale in enumerate((0.8, 0.3))}
    unet = reference([weights], [0.0])
    for name, processor in unet.attn_processors.items():
        if hasattr(processor, "scale"):
            processor.scale = [next((scale for start, scale in by_name.items() if name.startswith(start)), 0.0)]
    x, t, text, picture = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, CONTEXT), inputs("base")[0]
    with torch.no_grad():
        expected = unet(x, t, text, added_cond_kwargs={"image_embeds": [picture[:, None]]}, return_dict=False)[0]
    wish = Wish(layers=dict(zip(up, (0.8, 0.3), strict=True)))
    patched = with_pictures(model, adapter, Embeds(picture, torch.zeros_like(picture)), wish, Pool("cpu"))
    assert (predicted(patched, x, t, text) - expected).abs().max() < 1e-5
    assert (predicted(model, x, t, text) - expected).abs().max() > 1e-4


def test_other_models_encoders_and_files_are_named(model: ModelHandle, tmp_path: Path) -> None:
    weights = state("base", [32, 64])
    save_safetensors(tmp_path / "xl.safetensors", {key: value.contiguous() for key, value in weights.items()})
    adapter = load_ip_adapter(tmp_path / "xl.safetensors", services(tmp_path))
    with pytest.raises(BadInput, match=r"xl\.safetensors is for .* 2 cross-attentions, the model is Stable Diffusion 1"):
        with_pictures(model, adapter, Embeds(torch.zeros(1, CLIP), torch.zeros(1, CLIP)), Wish(), Pool("cpu"))
    weights = state("base", widths(model))
    save_safetensors(tmp_path / "ip.safetensors", {key: value.contiguous() for key, value in weights.items()})
    adapter = load_ip_adapter(tmp_path / "ip.safetensors", services(tmp_path))
    with pytest.raises(BadInput, match="encoded 128 wide, these are 9 wide"):
        with_pictures(model, adapter, Embeds(torch.zeros(1, 9), torch.zeros(1, 9)), Wish(), Pool("cpu"))
    del weights["image_proj.norm.bias"]
    save_safetensors(tmp_path / "part.safetensors", {key: value.contiguous() for key, value in weights.items()})
    with pytest.raises(BadFile, match=r"image_proj\.norm\.bias is missing"):
        load_ip_adapter(tmp_path / "part.safetensors", services(tmp_path))
    with pytest.raises(UnknownModel, match="no IP-Adapter"):
        load_ip_adapter(tmp_path / "tiny.safetensors", services(tmp_path))

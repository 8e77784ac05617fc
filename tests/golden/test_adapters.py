"""GLIGEN against diffusers' gated UNet; style models and hypernetworks against their formulas written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F

from backend.adapters.gligen import Gligen, load_gligen
from backend.adapters.hypernetwork import load_hypernetwork
from backend.adapters.style import load_style_model
from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.diffusion.handle import ModelHandle
from backend.families.sd import SD1_FAMILY
from backend.families.sd.names import from_diffusers
from backend.families.sd.unet import UNet, UNetSizes
from backend.memory.pool import Loadable, Pool
from backend.weights.save import save_safetensors
from tests.families.tiny import services

TEXT = 768
SIZES = UNetSizes(
    channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 0), depth_middle=1, depth_out=(0, 0, 1, 1), context=TEXT, heads=8
)  # fmt: skip


@pytest.fixture(scope="module")
def twin() -> Any:
    torch.manual_seed(2)
    unet = UNet2DConditionModel(
        block_out_channels=(32, 64), down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), layers_per_block=1, cross_attention_dim=TEXT, attention_head_dim=8,
        attention_type="gated",
    ).eval()  # fmt: skip
    for name, parameter in unet.named_parameters():
        if "alpha" in name or "null" in name:
            nn.init.normal_(parameter, std=0.5)
    return unet


def split(twin: Any, path: Path) -> tuple[ModelHandle, Path]:
    """The UNet as a model, and a file with what GLIGEN adds to it."""
    state = twin.state_dict()
    named = {name: state[key] for name, key in from_diffusers(state).items()}
    added = {key: value for key, value in named.items() if ".fuser." in key} | {k: v for k, v in state.items() if "position_net" in k}
    save_safetensors(path, {key: value.contiguous() for key, value in added.items()})
    own = {key: value for key, value in named.items() if ".fuser." not in key}
    return ModelHandle(Loadable("gated", lambda: UNet(SIZES), own), SD1_FAMILY, SIZES, SD1_FAMILY.noise({})), path


def test_boxes_against_diffusers(twin: Any, tmp_path: Path) -> None:
    model, path = split(twin, tmp_path / "gligen.safetensors")
    gligen = load_gligen(path, services(tmp_path))
    x, t, text = torch.randn(2, 4, 8, 8), torch.tensor([5.0, 600.0]), torch.randn(2, 7, TEXT)
    embs = torch.randn(2, TEXT)
    boxes, masks, texts = torch.zeros(2, 30, 4), torch.zeros(2, 30), torch.zeros(2, 30, TEXT)
    boxes[:, 0], boxes[:, 1] = torch.tensor([0.25, 0.5, 0.75, 1.0]), torch.tensor([0.0, 0.0, 0.5, 0.25])
    texts[:, :2], masks[0, :2] = embs, 1  # the second row is the negative: no boxes
    with torch.no_grad():
        grounding = {"boxes": boxes, "positive_embeddings": texts, "masks": masks}
        expected = twin(x, t, text, cross_attention_kwargs={"gligen": grounding}, return_dict=False)[0]
    placed = gligen.placed([(embs[:1], 4, 4, 4, 2), (embs[1:], 2, 4, 0, 0)])
    with placed.bind(model, Pool("cpu")) as taps, Pool("cpu").lease(model.loadable) as net, torch.inference_mode():
        got = net(x, t, text, taps=taps, facts={"cond_or_uncond": [0, 1], "sigmas": torch.ones(2)})
        plain = net(x, t, text)
    assert (got - expected).abs().max() < 1e-5 < (plain - expected).abs().max()


def test_gligen_of_another_family(twin: Any, tmp_path: Path) -> None:
    model, path = split(twin, tmp_path / "gligen.safetensors")
    gligen: Gligen = load_gligen(path, services(tmp_path))
    wide = UNetSizes(channels=(64, 64), res_blocks=(1, 1), depth_in=(1, 0), depth_middle=1, depth_out=(0, 0, 1, 1), context=48)
    other = ModelHandle(model.loadable, SD1_FAMILY, wide, model.noise)
    with pytest.raises(BadInput, match=r"is for SD 1\.x, the model is"), gligen.placed([]).bind(other, Pool("cpu")):
        pass
    with pytest.raises(BadInput, match="is 9 wide, the GLIGEN model"), gligen.placed([(torch.zeros(1, 9), 1, 1, 0, 0)]).bind(model, Pool()):
        pass
    save_safetensors(tmp_path / "x.safetensors", {"x": torch.zeros(1)})
    with pytest.raises(UnknownModel, match="no GLIGEN"):
        load_gligen(tmp_path / "x.safetensors", services(tmp_path))


def test_style_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    width, context = 64, 24
    blocks = [nn.MultiheadAttention(width, 8, batch_first=True) for _ in range(2)]
    state: dict[str, Tensor] = {"style_embedding": torch.randn(1, 3, width), "proj": torch.randn(width, context)}
    for part in ("ln_pre", "ln_post"):
        state |= {f"{part}.weight": torch.rand(width), f"{part}.bias": torch.randn(width)}
    for i, block in enumerate(blocks):
        one = f"transformer_layes.{i}."
        state |= {f"{one}attn.{key}": value.detach().clone() for key, value in block.state_dict().items()}
        state |= {f"{one}ln_{n}.{leaf}": torch.randn(width) for n in (1, 2) for leaf in ("weight", "bias")}
        state |= {f"{one}mlp.c_fc.weight": torch.randn(4 * width, width) / 8, f"{one}mlp.c_fc.bias": torch.randn(4 * width)}
        state |= {f"{one}mlp.c_proj.weight": torch.randn(width, 4 * width) / 16, f"{one}mlp.c_proj.bias": torch.randn(width)}
    save_safetensors(tmp_path / "style.safetensors", {key: value.contiguous() for key, value in state.items()})
    seen = torch.randn(2, 5, width)

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (width,), state[f"{name}.weight"], state[f"{name}.bias"])

    with torch.no_grad():
        h = norm("ln_pre", torch.cat([seen, state["style_embedding"].expand(2, -1, -1)], 1))
        for i, block in enumerate(blocks):
            one = f"transformer_layes.{i}."
            n = norm(f"{one}ln_1", h)
            h = h + block(n, n, n, need_weights=False)[0]
            inner = F.linear(norm(f"{one}ln_2", h), state[f"{one}mlp.c_fc.weight"], state[f"{one}mlp.c_fc.bias"])
            h = h + F.linear(inner * torch.sigmoid(1.702 * inner), state[f"{one}mlp.c_proj.weight"], state[f"{one}mlp.c_proj.bias"])
        expected = norm("ln_post", h[:, -3:]) @ state["proj"]
    style = load_style_model(tmp_path / "style.safetensors", services(tmp_path))
    got = style.tokens(seen, Pool("cpu"))
    assert ((got - expected).abs() / expected.abs().clamp(min=1)).max() < 1e-4
    with pytest.raises(BadInput, match="encoded 64 wide, this one is 9 wide"):
        style.tokens(torch.zeros(1, 5, 9), Pool("cpu"))


@pytest.mark.parametrize("normed", [False, True])
def test_hypernetwork(normed: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)

    def layers() -> nn.Sequential:
        between = [nn.LayerNorm(16)] if normed else []
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), *between, nn.Linear(16, 8))

    nets = [layers().eval() for _ in range(2)]
    tree = {8: tuple({f"linear.{k}": v for k, v in net.state_dict().items()} for net in nets), "activation_func": "relu", "step": 3}
    torch.save(tree, tmp_path / "h.pt")
    q, k, v = torch.randn(1, 4, 8), torch.randn(1, 5, 8), torch.randn(1, 5, 8)
    hyper: Any = load_hypernetwork(tmp_path / "h.pt", services(tmp_path), 0.5)
    with hyper.bind(None, Pool("cpu")) as tap, torch.inference_mode():
        got = tap(q, k, v, {})
        assert torch.equal(tap(q, k[..., :4], v[..., :4], {})[1], k[..., :4])
        expected = (q, k + nets[0](k) * 0.5, v + nets[1](v) * 0.5)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(got, expected, strict=True))
    torch.save({**tree, "activation_func": "wave"}, tmp_path / "odd.pt")
    with pytest.raises(BadFile, match="activation wave"):
        load_hypernetwork(tmp_path / "odd.pt", services(tmp_path), 1.0)

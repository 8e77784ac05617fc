"""PhotoMaker against transformers' CLIP and the paper's fusion written out; which word it takes, and files that are something else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from backend.base.errors import BadFile, BadInput, UnknownModel
from backend.encoders.clip_vision.handle import prepared
from backend.encoders.photomaker.spec import load_photomaker
from backend.families.load import load_checkpoint
from backend.memory.pool import Pool
from nodes.photomaker import photomaker_encode, photomaker_loader
from tests.families import kinds, tiny
from tests.nodes.bench import Bench

WIDTH = 128
"""Of the tiny XL model's two text encoders together."""


def state() -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=16, image_size=28, patch_size=14, projection_dim=48
    )
    twin = kinds.lively(CLIPVisionModelWithProjection(config))
    shapes = {
        "visual_projection_2.weight": (WIDTH - 48, 64),
        "fuse_module.layer_norm.weight": (WIDTH,),
        "fuse_module.layer_norm.bias": (WIDTH,),
    }
    for name, width in (("mlp1", 2 * WIDTH), ("mlp2", WIDTH)):
        shapes |= {f"fuse_module.{name}.layernorm.{kind}": (width,) for kind in ("weight", "bias")}
        shapes |= {f"fuse_module.{name}.fc1.weight": (WIDTH, width), f"fuse_module.{name}.fc2.weight": (WIDTH, WIDTH)}
        shapes |= {f"fuse_module.{name}.{layer}.bias": (WIDTH,) for layer in ("fc1", "fc2")}
    return twin, {**twin.state_dict(), **{name: torch.randn(shape) * 0.2 for name, shape in shapes.items()}}


def fused(twin: Any, s: dict[str, Tensor], pixels: Tensor, words: Tensor) -> Tensor:
    """The paper's equation of a stacked embedding."""

    def perceptron(x: Tensor, name: str) -> Tensor:
        x = F.layer_norm(x, x.shape[-1:], s[f"{name}.layernorm.weight"], s[f"{name}.layernorm.bias"])
        x = F.gelu(F.linear(x, s[f"{name}.fc1.weight"], s[f"{name}.fc1.bias"]))
        return F.linear(x, s[f"{name}.fc2.weight"], s[f"{name}.fc2.bias"])

    pooled = twin.vision_model(pixels).pooler_output
    person = torch.cat([twin.visual_projection(pooled), pooled @ s["visual_projection_2.weight"].T], dim=-1)
    x = perceptron(torch.cat([words, person], dim=-1), "fuse_module.mlp1") + words
    x = x + perceptron(x, "fuse_module.mlp2")
    return F.layer_norm(x, (WIDTH,), s["fuse_module.layer_norm.weight"], s["fuse_module.layer_norm.bias"])


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("xl")
    return load_checkpoint(kinds.make("sdxl").single(folder / "xl.safetensors"), tiny.services(folder)).clip


def test_the_word_before_the_trigger_becomes_the_person(clip: Any, tmp_path: Path) -> None:
    twin, weights = state()
    bench = Bench(tmp_path)
    folder = bench.folders.kind("photomaker").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"id_encoder": weights, "lora_weights": {"a": torch.ones(1)}}, folder / "photomaker-v1.bin")
    maker = photomaker_loader(bench.context(), photomaker_model_name="photomaker-v1.bin")
    image = torch.rand(2, 40, 30, 3)
    [[found, told]] = photomaker_encode(bench.context(), photomaker=maker, image=image, clip=clip, text="a red man photomaker in a garden")
    # as if the word were said once for each picture
    [[plain, expected]] = clip.conditioning("a red man man in a garden", Pool("cpu"))
    with torch.no_grad():
        want = fused(twin, weights, prepared(image, 28), plain[0, 3:5])
    assert (found[0, 3:5] - want).abs().max() < 1e-5
    assert torch.equal(found[0, :3], plain[0, :3]) and torch.equal(found[0, 5:], plain[0, 5:])
    assert torch.equal(told["pooled_output"], expected["pooled_output"])


def test_without_a_person_the_prompt_is_encoded_as_it_is(clip: Any, tmp_path: Path) -> None:
    torch.save(state()[1], tmp_path / "p.bin")
    bench, maker = Bench(tmp_path), load_photomaker(tmp_path / "p.bin")
    for text in ("a man", "photomaker"):
        [[found, _]] = photomaker_encode(bench.context(), photomaker=maker, image=torch.rand(1, 30, 30, 3), clip=clip, text=text)
        assert torch.equal(found, clip.conditioning(text, Pool("cpu"))[0][0])
    assert any("does not name a person" in text for text in bench.texts())


def test_what_does_not_fit_is_named(clip: Any, tmp_path: Path) -> None:
    weights = state()[1]
    torch.save(weights, tmp_path / "p.bin")
    other = load_checkpoint(kinds.make("sd1").single(tmp_path / "sd.safetensors"), tiny.services(tmp_path)).clip
    with pytest.raises(BadInput, match="64 wide; this PhotoMaker changes words 128 wide"):
        load_photomaker(tmp_path / "p.bin").conditioning(other, torch.rand(1, 30, 30, 3), "a man photomaker", Pool("cpu"))
    torch.save({**weights, "fuse_module.mlp1.fc1.weight": torch.zeros(3, 3)}, tmp_path / "d.bin")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.bin")
    with pytest.raises(BadFile, match=r"fuse_module\.mlp1"):
        load_photomaker(tmp_path / "d.bin")
    with pytest.raises(UnknownModel, match="no PhotoMaker"):
        load_photomaker(tmp_path / "a.bin")

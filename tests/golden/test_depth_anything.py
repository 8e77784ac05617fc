"""Depth maps equal those of transformers, whichever names the file uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

from backend.base.errors import UnknownModel
from backend.encoders.depth.spec import SPREAD, load_depth_model, prepared
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes import depth_map
from tests.nodes.bench import Bench

STAGE, HEAD, FUSION = "neck.reassemble_stage.layers", "depth_head.scratch", "neck.fusion_stage.layers"
TO_ORIGINAL = (  # in order
    ("backbone.embeddings.cls_token", "pretrained.cls_token"), ("backbone.embeddings.position_embeddings", "pretrained.pos_embed"),
    ("backbone.embeddings.mask_token", "pretrained.mask_token"),
    ("backbone.embeddings.patch_embeddings.projection", "pretrained.patch_embed.proj"),
    ("backbone.encoder.layer.", "pretrained.blocks."), ("attention.o_proj", "attn.proj"), ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"), ("backbone.layernorm", "pretrained.norm"),
    *((f"{STAGE}.{i}.resize", f"depth_head.resize_layers.{i}") for i in (0, 1, 3)),
    *((f"{STAGE}.{i}.projection", f"depth_head.projects.{i}") for i in range(4)),
    *((f"neck.convs.{i}.", f"{HEAD}.layer{i + 1}_rn.") for i in range(4)),
    *((f"{FUSION}.{i}.", f"{HEAD}.refinenet{4 - i}.") for i in range(4)),
    (".projection.", ".out_conv."), ("residual_layer", "resConfUnit"), ("convolution", "conv"),
    ("head.conv1", f"{HEAD}.output_conv1"), ("head.conv2", f"{HEAD}.output_conv2.0"), ("head.conv3", f"{HEAD}.output_conv2.2"),
)  # fmt: skip
TO_PUBLISHED = {"q_proj": "attention.query", "k_proj": "attention.key", "v_proj": "attention.value", "o_proj": "output.dense"}


def made() -> Any:
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=128, num_hidden_layers=12, num_attention_heads=2, mlp_ratio=2, image_size=70, out_indices=list(SPREAD[12]),
        reshape_hidden_states=False, layerscale_value=0.7,
    )  # fmt: skip
    sizes = {"reassemble_hidden_size": 128, "neck_hidden_sizes": [8, 12, 16, 20], "fusion_hidden_size": 16, "head_hidden_size": 8}
    twin = DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone, **sizes)).eval()
    for name, parameter in twin.named_parameters():
        torch.nn.init.normal_(parameter, std=0.2 if "position" in name or "token" in name else 0.08)
    torch.nn.init.constant_(twin.head.conv3.bias, 1.0)
    return twin


@pytest.fixture(scope="module")
def twin() -> Any:
    return made()


def published(twin: Any) -> dict[str, Tensor]:
    """The names that files of transformers have."""
    state = {}
    for key, value in twin.state_dict().items():
        for short, long in (
            ("q_proj", "attention.query"),
            ("k_proj", "attention.key"),
            ("v_proj", "attention.value"),
            ("o_proj", "output.dense"),
        ):
            key = key.replace(f"attention.{short}", f"attention.{long}")
        state[key] = value
    return state


def original(twin: Any) -> dict[str, Tensor]:
    """The names of the authors."""
    state: dict[str, Tensor] = {}
    for key, value in twin.state_dict().items():
        for theirs, ours in TO_ORIGINAL:
            key = key.replace(theirs, ours)
        state[key] = value
    for i in range(12):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"pretrained.blocks.{i}.attention.{name}_proj.{kind}") for name in "qkv"]
            state[f"pretrained.blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


@pytest.mark.parametrize("names", [published, original])
@pytest.mark.parametrize("size", [(70, 70), (60, 100)])
def test_equals_transformers(twin: Any, names: Any, size: tuple[int, int], tmp_path: Path) -> None:
    file = tmp_path / "depth_anything_v2_vits.safetensors"
    save_safetensors(file, names(twin))
    model = load_depth_model(file)
    images = torch.rand(1, *size, 3, generator=torch.Generator().manual_seed(1))
    pixels = prepared(images, model.sizes, 70)
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        expected = twin(pixels).predicted_depth
        assert (net(pixels) - expected).abs().max() < 1e-5 * max(1, float(expected.abs().max()))
    assert expected.std() > 0


def test_node_and_versions(twin: Any, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.folders.models / "clip_vision"
    folder.mkdir(parents=True)
    save_safetensors(folder / "depth_anything_vits14.safetensors", published(twin))
    ctx = bench.context()
    model = depth_map.load_depth(ctx, name="depth_anything_vits14.safetensors")
    assert model.sizes.taken == (9, 10, 11, 12)
    (folder / "config.json").write_text(json.dumps({"backbone_config": {"out_indices": [3, 6, 9, 12]}}))
    assert load_depth_model(folder / "depth_anything_vits14.safetensors").sizes.taken == (3, 6, 9, 12)
    depth = depth_map.depth_map(ctx, image=torch.rand(2, 40, 56, 3), depth_model=model, resolution=70)
    assert (
        depth.shape == (2, 40, 56, 3)
        and depth.amin((1, 2, 3)).tolist() == [0, 0]
        and depth.amax((1, 2, 3)).tolist() == pytest.approx([1, 1])
    )
    save_safetensors(folder / "other.safetensors", {"a": torch.zeros(1)})
    with pytest.raises(UnknownModel, match="no depth model"):
        depth_map.load_depth(ctx, name="other.safetensors")

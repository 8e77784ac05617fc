"""Depth by DPT-Large and DPT-Hybrid equals that of transformers, whichever names the file uses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BitConfig, DPTConfig, DPTForDepthEstimation

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.depth.spec import load_depth_model, prepared
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes import depth_map
from tests.nodes.bench import Bench

TO_AUTHORS = (  # in order, as patterns
    (r"dpt\.embeddings\.backbone\.bit\.encoder\.stages\.(\d)\.layers", r"pretrained.model.patch_embed.backbone.stages.\1.blocks"),
    (r"dpt\.embeddings\.backbone\.bit\.embedder\.convolution", "pretrained.model.patch_embed.backbone.stem.conv"),
    (r"dpt\.embeddings\.backbone\.bit\.embedder\.norm", "pretrained.model.patch_embed.backbone.stem.norm"),
    (r"dpt\.embeddings\.position_embeddings", "pretrained.model.pos_embed"), (r"dpt\.embeddings\.cls_token", "pretrained.model.cls_token"),
    (r"dpt\.embeddings\.(patch_embeddings\.)?projection", "pretrained.model.patch_embed.proj"),
    (r"dpt\.layernorm", "pretrained.model.norm"),
    (r"dpt\.encoder\.layer", "pretrained.model.blocks"), (r"layernorm_before", "norm1"), (r"layernorm_after", "norm2"),
    (r"attention\.output\.dense", "attn.proj"), (r"intermediate\.dense", "mlp.fc1"), (r"output\.dense", "mlp.fc2"),
    *((rf"neck\.reassemble_stage\.readout_projects\.{i}\.0", f"pretrained.act_postprocess{i + 1}.0.project.0") for i in range(4)),
    *((rf"neck\.reassemble_stage\.layers\.{i}\.projection", f"pretrained.act_postprocess{i + 1}.3") for i in range(4)),
    *((rf"neck\.reassemble_stage\.layers\.{i}\.resize", f"pretrained.act_postprocess{i + 1}.4") for i in range(4)),
    *((rf"neck\.convs\.{i}", f"scratch.layer{i + 1}_rn") for i in range(4)),
    *((rf"neck\.fusion_stage\.layers\.{i}", f"scratch.refinenet{4 - i}") for i in range(4)),
    (r"residual_layer", "resConfUnit"), (r"convolution", "conv"), (r"\.projection\.", ".out_conv."), (r"head\.head", "scratch.output_conv"),
)  # fmt: skip


def made(**settings: Any) -> Any:
    """A tiny twin that adds to variances what the published weights were trained with; configurations of transformers leave it out."""
    torch.manual_seed(0)
    config = DPTConfig(
        hidden_size=128, num_hidden_layers=4, num_attention_heads=2, intermediate_size=192, image_size=64, fusion_hidden_size=16,
        backbone_out_indices=[0, 1, 2, 3], layer_norm_eps=1e-6, **settings,
    )  # fmt: skip
    twin = DPTForDepthEstimation(config).eval()
    for name, parameter in twin.named_parameters():
        torch.nn.init.normal_(
            parameter, std=0.2 if "position" in name or "token" in name else 0.15 if "head" in name or "neck" in name else 0.08
        )
    torch.nn.init.normal_(twin.head.head[4].weight, std=0.03)
    torch.nn.init.constant_(twin.head.head[4].bias, 1.0)
    return twin


@pytest.fixture(scope="module")
def twins() -> dict[str, Any]:
    backbone = BitConfig(
        hidden_sizes=[128, 128, 256], depths=[1, 2, 1], embedding_size=32, layer_type="bottleneck", global_padding="same",
        embedding_dynamic_padding=True, out_features=["stage1", "stage2", "stage3"],
    )  # fmt: skip
    hybrid = {"is_hybrid": True, "backbone_config": backbone, "backbone_featmap_shape": [1, 256, 4, 4]}
    return {
        "large": made(neck_hidden_sizes=[8, 12, 16, 20]),
        "hybrid": made(neck_hidden_sizes=[128, 128, 16, 20], **hybrid),
    }


def published(twin: Any) -> dict[str, Tensor]:
    state: dict[str, Tensor] = twin.state_dict()
    return state


def authors(twin: Any) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for key, value in twin.state_dict().items():
        for theirs, ours in TO_AUTHORS:
            key = re.sub(theirs, ours, key)
        state[key] = value
    for i in range(4):
        for kind in ("weight", "bias"):
            parts = [state.pop(f"pretrained.model.blocks.{i}.attention.attention.{name}.{kind}") for name in ("query", "key", "value")]
            state[f"pretrained.model.blocks.{i}.attn.qkv.{kind}"] = torch.cat(parts)
    return state


@pytest.mark.parametrize("names", [published, authors])
@pytest.mark.parametrize(("kind", "side"), [("large", 64), ("large", 96), ("hybrid", 64)])
def test_equals_transformers(
    twins: dict[str, Any], names: Callable[[Any], dict[str, Tensor]], kind: str, side: int, tmp_path: Path
) -> None:
    twin, file = twins[kind], tmp_path / "dpt.safetensors"
    save_safetensors(file, names(twin))
    model = load_depth_model(file)
    assert model.sizes.trained == 64
    pixels = prepared(torch.rand(2, side, side, 3, generator=torch.Generator().manual_seed(1)), model.sizes, side)
    assert pixels.shape[2:] == (side, side) and pixels.amin() < -0.9
    with torch.no_grad(), Pool("cpu").lease(model.loadable) as net:
        expected = twin(pixels).predicted_depth
        error = (net(pixels) - expected).abs().max()
    assert error < 1e-5 and expected.std() > 0.1


@pytest.mark.parametrize("kind", ["large", "hybrid"])
def test_node_sees_any_shape(twins: dict[str, Any], kind: str, tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.folders.models / "clip_vision"
    folder.mkdir(parents=True)
    save_safetensors(folder / "dpt.safetensors", authors(twins[kind]))
    ctx = bench.context()
    model = depth_map.load_depth(ctx, name="dpt.safetensors")
    assert model.sizes.taken == ((1, 2, 3, 4) if kind == "large" else (3, 4))
    depth = depth_map.depth_map(ctx, image=torch.rand(1, 50, 170, 3), depth_model=model, resolution=0)
    assert depth.shape == (1, 50, 170, 3) and depth.amin() == 0 and depth.amax() == pytest.approx(1)
    (folder / "config.json").write_text(json.dumps({"backbone_out_indices": [0, 1, 2, 40]}))
    assert load_depth_model(folder / "dpt.safetensors").sizes == model.sizes, "what no net of this depth can have is not believed"


def test_refuses_what_it_is_not(twins: dict[str, Any], tmp_path: Path) -> None:
    state = published(twins["large"])
    save_safetensors(tmp_path / "a.safetensors", {k: v for k, v in state.items() if "head.head.4" not in k})
    with pytest.raises(UnknownModel, match=r"no depth model that is known: it has no head\.conv3"):
        load_depth_model(tmp_path / "a.safetensors")
    save_safetensors(tmp_path / "b.safetensors", {**state, "head.head.2.bias": torch.zeros(3)})
    with pytest.raises(BadFile, match=r"head\.conv2\.bias has an unexpected shape"):
        load_depth_model(tmp_path / "b.safetensors")

"""BiRefNet: its backbone equals transformers', its convolutions a plain loop; files are told apart, and masks have the picture's size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import SwinBackbone, SwinConfig

from backend.base.errors import BadFile, UnknownModel
from backend.encoders.matting.deform import deformed
from backend.encoders.matting.net import MattingNet, MattingSizes, pieces
from backend.encoders.matting.spec import load_matting_model
from backend.encoders.swin import Swin, SwinSizes
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.background import load_background_removal, remove_background
from tests.nodes.bench import Bench

TINY = SwinSizes(width=16, depths=(2, 1, 2, 1), heads=(1, 2, 2, 4), window=3)
SIZES = MattingSizes(TINY, inner=8, branch=16)
TO_AUTHORS = (
    (r"swin\.embeddings\.patch_embeddings\.projection", "patch_embed.proj"), (r"swin\.embeddings\.norm", "patch_embed.norm"),
    (r"swin\.encoder\.layers", "layers"), (r"layernorm_before", "norm1"), (r"layernorm_after", "norm2"),
    (r"attention\.o_proj", "attn.proj"), (r"attention\.relative_position_bias\.", "attn."),
)  # fmt: skip


def backbone() -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    config = SwinConfig(
        image_size=96, embed_dim=16, depths=[2, 1, 2, 1], num_heads=[1, 2, 2, 4], window_size=3,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    twin = SwinBackbone(config).eval()
    for value in twin.parameters():
        torch.nn.init.normal_(value, std=0.2)
    state: dict[str, Tensor] = {}
    for key, value in twin.state_dict().items():
        key = re.sub(r"hidden_states_norms\.stage(\d)", lambda m: f"norm{int(m[1]) - 1}", key)
        for pattern, name in TO_AUTHORS:
            key = re.sub(pattern, name, key)
        state[key] = value
    for key in [key for key in state if ".attention.q_proj." in key]:
        parts = [state.pop(key.replace("q_proj", f"{name}_proj")) for name in "qkv"]
        state[key.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return twin, {key: value for key, value in state.items() if not key.startswith("swin.")}


def test_the_backbone_equals_transformers() -> None:
    twin, state = backbone()
    net = Swin(TINY)
    net.load_state_dict(state)
    pixels = torch.randn(2, 3, 150, 134)  # neither windows nor patches fit
    with torch.no_grad():
        for found, want in zip(net(pixels), twin(pixels).feature_maps, strict=True):
            assert (found - want).abs().max() < 1e-5 * want.abs().max().clamp(min=1)


def test_a_deformed_convolution_equals_a_plain_loop() -> None:
    torch.manual_seed(0)
    x, weights = torch.randn(1, 2, 5, 4), torch.randn(3, 2, 3, 3)
    offsets, modulation = torch.randn(1, 18, 5, 4) * 2, torch.rand(1, 9, 5, 4)

    def at(row: float, column: float) -> Tensor:
        total, (top, left) = torch.zeros(2), (int(row // 1), int(column // 1))
        for r in (top, top + 1):
            for c in (left, left + 1):
                if 0 <= r < 5 and 0 <= c < 4:
                    total += x[0, :, r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
        return total

    found = deformed(x, offsets, modulation, weights)
    for row in range(5):
        for column in range(4):
            want = torch.zeros(3)
            for tap in range(9):
                moved = [
                    row + tap // 3 - 1 + float(offsets[0, 2 * tap, row, column]),
                    column + tap % 3 - 1 + float(offsets[0, 2 * tap + 1, row, column]),
                ]
                want += weights[:, :, tap // 3, tap % 3] @ at(*moved) * modulation[0, tap, row, column]
            assert (found[0, :, row, column] - want).abs().max() < 1e-4


def test_pieces_go_row_by_row() -> None:
    picture = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6).float()
    found = pieces(picture, 2, 3)
    assert torch.equal(found[0, 1], picture[0, 0, :2, 3:]) and torch.equal(found[0, 6], picture[0, 1, 2:, :3])


def written(path: Path) -> Path:
    torch.manual_seed(0)
    net = MattingNet(SIZES)
    for name, value in net.named_parameters():
        torch.nn.init.uniform_(value, 0.5, 1.5) if "running_var" in name else torch.nn.init.normal_(value, std=0.1)
    state = {f"module.{key}": value for key, value in net.state_dict().items()}
    save_safetensors(path, {**state, "module.bb.layers.0.blocks.0.attn.relative_position_index": torch.zeros(9, 9, dtype=torch.int64)})
    return path


def test_masks_have_the_size_of_the_picture(tmp_path: Path) -> None:
    model = replace(load_matting_model(written(tmp_path / "birefnet.safetensors")), side=64)
    picture = torch.rand(2, 40, 56, 3)
    masks = model.masks(picture, Pool("cpu"))
    assert masks.shape == (2, 40, 56) and 0 <= float(masks.min()) < float(masks.max()) <= 1
    assert torch.equal(masks, model.masks(picture, Pool("cpu")))


def test_the_nodes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    folder = bench.folders.kind("background_removal").paths[0]
    folder.mkdir(parents=True, exist_ok=True)
    written(folder / "birefnet.safetensors")
    model = load_background_removal(bench.context(), bg_removal_name="birefnet.safetensors")
    assert model.side == 1024 and model.sizes == SIZES
    small = replace(model, side=64)
    assert remove_background(bench.context(), image=torch.rand(1, 32, 32, 3), bg_removal_model=small).shape == (1, 32, 32)
    save_safetensors(folder / "other.safetensors", {"a": torch.ones(1)})
    with pytest.raises(UnknownModel, match="no background removal model"):
        load_background_removal(bench.context(), bg_removal_name="other.safetensors")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    net = MattingNet(SIZES)
    state = {key: torch.zeros_like(value) for key, value in net.state_dict().items()}
    save_safetensors(tmp_path / "b.safetensors", {**state, "decoder.conv_out1.0.weight": torch.zeros(1, 3, 1, 1)})
    with pytest.raises(BadFile, match="conv_out1"):
        load_matting_model(tmp_path / "b.safetensors")

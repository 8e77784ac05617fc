"""The UNet against diffusers' UNet2DConditionModel with the same weights under the published single-file names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel

from backend.families.sd.names import from_diffusers, to_diffusers
from backend.families.sd.sizes import sizes_of
from backend.families.sd.unet import UNet, UNetSizes
from backend.weights.file import Entry
from tests.families.waits import unasked

CROSS_DOWN, CROSS_UP = "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"

CASES: dict[str, tuple[dict[str, Any], UNetSizes]] = {
    "sd1": (
        {
            "block_out_channels": (32, 64, 64),
            "down_block_types": (CROSS_DOWN, CROSS_DOWN, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", CROSS_UP, CROSS_UP),
            "layers_per_block": 2,
            "cross_attention_dim": 24,
            "attention_head_dim": 8,
        },
        UNetSizes(
            channels=(32, 64, 64),
            res_blocks=(2, 2, 2),
            depth_in=(1, 1, 1, 1, 0, 0),
            depth_middle=1,
            depth_out=(0, 0, 0, 1, 1, 1, 1, 1, 1),
            context=24,
            heads=8,
        ),
    ),
    "sd2-inpaint": (
        {
            "in_channels": 9,
            "block_out_channels": (64, 128),
            "down_block_types": (CROSS_DOWN, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", CROSS_UP),
            "layers_per_block": 1,
            "cross_attention_dim": 40,
            "attention_head_dim": (1, 2),
            "use_linear_projection": True,
        },
        UNetSizes(
            in_channels=9,
            channels=(64, 128),
            res_blocks=(1, 1),
            depth_in=(1, 0),
            depth_middle=1,
            depth_out=(0, 0, 1, 1),
            context=40,
            heads=None,
            head_dim=64,
            linear=True,
        ),
    ),
    "sdxl": (
        {
            "block_out_channels": (32, 64, 128),
            "down_block_types": ("DownBlock2D", CROSS_DOWN, CROSS_DOWN),
            "up_block_types": (CROSS_UP, CROSS_UP, "UpBlock2D"),
            "layers_per_block": 2,
            "transformer_layers_per_block": (1, 2, 3),
            "cross_attention_dim": 48,
            "attention_head_dim": (1, 2, 4),
            "use_linear_projection": True,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 16 + 6 * 8,
        },
        UNetSizes(
            channels=(32, 64, 128),
            res_blocks=(2, 2, 2),
            depth_in=(0, 0, 2, 2, 3, 3),
            depth_middle=3,
            depth_out=(3, 3, 3, 2, 2, 2, 0, 0, 0),
            context=48,
            heads=None,
            head_dim=32,
            linear=True,
            adm=64,
        ),
    ),
    "bk-sdm": (  # no middle, one block a level
        {
            "block_out_channels": (32, 64),
            "down_block_types": (CROSS_DOWN, CROSS_DOWN),
            "up_block_types": (CROSS_UP, CROSS_UP),
            "mid_block_type": None,
            "layers_per_block": 1,
            "cross_attention_dim": 24,
            "attention_head_dim": 8,
        },
        UNetSizes(channels=(32, 64), res_blocks=(1, 1), depth_in=(1, 1), depth_middle=None, depth_out=(1, 1, 1, 1), context=24, heads=8),
    ),
    "ssd-1b": (  # transformers of different depths in one level, a middle without any
        {
            "block_out_channels": (64, 128),
            "down_block_types": ("DownBlock2D", CROSS_DOWN),
            "up_block_types": (CROSS_UP, "UpBlock2D"),
            "mid_block_type": "UNetMidBlock2D",
            "layers_per_block": 1,
            "transformer_layers_per_block": (1, 2),
            "reverse_transformer_layers_per_block": ((3, 1), 1),
            "cross_attention_dim": 48,
            "attention_head_dim": (1, 2),
            "use_linear_projection": True,
        },
        UNetSizes(
            channels=(64, 128),
            res_blocks=(1, 1),
            depth_in=(0, 2),
            depth_middle=0,
            depth_out=(3, 1, 0, 0),
            context=48,
            heads=None,
            head_dim=64,
            linear=True,
        ),
    ),
}


def twins(name: str, seed: int = 0) -> tuple[UNet2DConditionModel, UNet]:
    config, sizes = CASES[name]
    torch.manual_seed(seed)
    theirs = UNet2DConditionModel(sample_size=16, **config).eval()
    ours = UNet(sizes).eval()
    state = theirs.state_dict()
    names = from_diffusers(state)
    assert len(names) == len(state)
    header = {single: Entry(tuple(state[key].shape), state[key].dtype, 0) for single, key in names.items()}
    assert replace(sizes_of(header), heads=sizes.heads, head_dim=sizes.head_dim) == sizes
    ours.load_state_dict({single: state[key] for single, key in names.items()}, strict=True)
    return theirs, ours


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("shape", [(16, 16), (12, 20)])
@torch.no_grad()
def test_equals_diffusers(name: str, shape: tuple[int, int]) -> None:
    theirs, ours = twins(name)
    sizes = CASES[name][1]
    x = torch.randn(2, sizes.in_channels, *shape)
    t = torch.tensor([999.0, 3.25])
    context = torch.randn(2, 7, sizes.context)
    extra: dict[str, Any] = {}
    y = None
    if sizes.adm:
        pooled, ids = torch.randn(2, 16), torch.tensor([[512.0, 640, 0, 8, 512, 512]] * 2)
        extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids}
        y = torch.cat([pooled, theirs.add_time_proj(ids.flatten()).reshape(2, -1)], dim=1)
    expected = theirs(x, t, context, **extra).sample
    with unasked(x, t, context, y):
        plain = ours(x, t, context, y)
    assert (plain - expected).abs().max() < 1e-5
    fast = ours.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last), t, context, y)
    assert (fast - expected).abs().max() < 1e-5


@pytest.mark.parametrize("name", CASES)
def test_names_go_both_ways(name: str) -> None:
    theirs, ours = twins(name)
    there = from_diffusers(theirs.state_dict())
    assert to_diffusers(CASES[name][1], ours.state_dict()) == there


@torch.no_grad()
def test_odd_sizes_come_back() -> None:
    theirs, ours = twins("sd1")
    x, t, context = torch.randn(1, 4, 9, 13), torch.tensor([10.0]), torch.randn(1, 5, 24)
    out = ours(x, t, context)
    assert out.shape == x.shape
    assert (out - theirs(x, t, context).sample).abs().max() < 1e-5


@torch.no_grad()
def test_control_residuals_equal_diffusers() -> None:
    theirs, ours = twins("sd1")
    x, t, context = torch.randn(1, 4, 16, 16), torch.tensor([500.0]), torch.randn(1, 5, 24)
    shapes = [(32, 16), (32, 16), (32, 16), (32, 8), (64, 8), (64, 8), (64, 4), (64, 4), (64, 4)]
    down = [torch.randn(1, c, s, s) for c, s in shapes]
    middle = torch.randn(1, 64, 4, 4)
    expected = theirs(x, t, context, down_block_additional_residuals=tuple(down), mid_block_additional_residual=middle).sample
    control = {"output": list(down), "middle": [middle]}
    assert (ours(x, t, context, control=control) - expected).abs().max() < 1e-5
    assert len(control["output"]) == len(down), "the caller's lists are left alone"

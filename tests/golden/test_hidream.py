"""HiDream against diffusers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import HiDreamImageTransformer2DModel

from backend.base.errors import BadInput
from backend.families.hidream import FAMILY
from backend.families.hidream.net import HiDreamSizes
from tests.families import nets

CONFIG = {
    "patch_size": 2, "in_channels": 16, "num_layers": 2, "num_single_layers": 2, "attention_head_dim": 128,
    "num_attention_heads": 2, "caption_channels": [24, 20], "text_emb_dim": 40, "axes_dims_rope": (64, 32, 32),
    "max_resolution": (8, 6), "llama_layers": [0, 1, 2, 2],
}  # fmt: skip


@pytest.mark.parametrize("experts", [4, 0])
@torch.no_grad()
def test_one_call(experts: int, tmp_path: Path) -> None:
    reference = nets.randomised(HiDreamImageTransformer2DModel(**CONFIG, num_routed_experts=experts), std=0.05)
    state = dict(reference.state_dict())
    assert nets.knowing(state) == ["HiDream"]
    model = nets.load({f"model.diffusion_model.{key}": value for key, value in state.items()}, tmp_path)
    x, sigma = torch.randn(2, 16, 8, 6), torch.tensor([0.8, 0.2])
    t5, llama, pooled = torch.randn(1, 7, 24), torch.randn(3, 1, 5, 20), torch.randn(1, 40)
    want = -reference(x, sigma * 1000, t5.expand(2, -1, -1), llama.expand(-1, 2, -1, -1), pooled.expand(2, -1), return_dict=False)[0]
    cond = {"cross_attn": t5, "conditioning_llama3": llama.transpose(0, 1), "pooled_output": pooled}
    assert nets.off(nets.call(model, x, sigma, cond), want) < nets.NEAR


def test_a_text_that_lacks_llama() -> None:
    sizes = HiDreamSizes(16, 256, 2, 1, 1, 0, 8, 0, 8, 40, 24, 20)
    told = {"cross_attn": torch.zeros(1, 4, 24), "pooled_output": torch.zeros(1, 40)}
    with pytest.raises(BadInput, match="lacks the states of Llama"):
        FAMILY.inputs([told], sizes, (1, 16, 8, 8))
    with pytest.raises(BadInput, match="24, 22 and 40 wide, but this HiDream model takes 24, 20 and 40"):
        FAMILY.inputs([told | {"conditioning_llama3": torch.zeros(1, 2, 4, 22)}], sizes, (1, 16, 8, 8))

"""The CLIP image encoder against transformers, in every spelling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from backend.base.errors import BadFile
from backend.encoders.clip_vision.handle import prepared
from backend.encoders.clip_vision.spec import from_file
from backend.memory.pool import Pool
from backend.weights.open import open_weights
from backend.weights.save import save_safetensors
from tests.families.kinds import lively
from tests.families.published import openclip_vision


def twin(act: str = "quick_gelu") -> Any:
    torch.manual_seed(0)
    config = transformers.CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=16, image_size=28, patch_size=14, hidden_act=act,
        projection_dim=32,
    )  # fmt: skip
    return lively(transformers.CLIPVisionModelWithProjection(config))


def state(net: Any) -> dict[str, Tensor]:
    return {key: value for key, value in net.state_dict().items() if not key.endswith("position_ids")}


@pytest.mark.parametrize("spelling", ["transformers", "embedder.model.visual.", "visual."])
def test_what_it_sees(spelling: str, tmp_path: Path) -> None:
    act = "quick_gelu" if spelling == "transformers" else "gelu"
    net = twin(act)
    weights = state(net) if spelling == "transformers" else {spelling + k: v for k, v in openclip_vision(state(net)).items()}
    save_safetensors(tmp_path / "v.safetensors", {key: value.contiguous() for key, value in weights.items()})
    vision = from_file(open_weights(tmp_path / "v.safetensors"))
    assert vision is not None and vision.sizes.side == 28 and vision.sizes.layers == 3
    image = torch.rand(2, 40, 56, 3)
    got = vision.encode_image(image, Pool())
    with torch.no_grad():
        want = net(prepared(image, 28), output_hidden_states=True)
    assert got.image_embeds is not None and (got.image_embeds - want.image_embeds).abs().max() < 1e-5
    assert (got.last_hidden_state - want.hidden_states[-1]).abs().max() < 1e-5
    assert (got.penultimate_hidden_states - want.hidden_states[-2]).abs().max() < 1e-5


def test_pictures_are_prepared_as_the_reference_does() -> None:
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size=28)
    image = (torch.rand(40, 56, 3) * 255).round()
    want = processor(image.numpy().astype("uint8"), return_tensors="pt").pixel_values
    difference = (prepared(image[None] / 255, 28) - want).abs()
    assert difference.max() < 0.09 and difference.mean() < 0.01, "a few of 256 steps: Pillow rounds between its two passes"


def test_incomplete(tmp_path: Path) -> None:
    weights = {key: value for key, value in state(twin()).items() if not key.endswith("layers.1.mlp.fc2.bias")}
    save_safetensors(tmp_path / "v.safetensors", weights)
    with pytest.raises(BadFile, match=r"without the weight vision_model\.encoder\.layers\.1\.mlp\.fc2\.bias"):
        from_file(open_weights(tmp_path / "v.safetensors"))
    save_safetensors(tmp_path / "n.safetensors", {"a": torch.zeros(1)})
    assert from_file(open_weights(tmp_path / "n.safetensors")) is None

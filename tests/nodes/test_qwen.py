"""Nodes of Qwen Image: what the encoder is asked and shown, against transformers; layers; camera angles."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from backend.base.errors import BadInput
from backend.encoders.lm.vision.pictures import QWEN2, patches
from backend.encoders.vocabularies import QWEN, vocabulary
from backend.families.load import load_text_encoder
from backend.families.qwen_image.texts import DESCRIBE, EDIT
from backend.memory.pool import Pool
from backend.weights.save import save_safetensors
from nodes.qwen import (
    camera_angle,
    empty_qwen_image_layered,
    scaled,
    text_encode_qwen_image_edit,
    text_encode_qwen_image_edit_plus,
)
from tests.families import tiny

WORDS, START, PAD, END = 151680, 151652, 151655, 151653


def speaker() -> Any:
    """A tiny Qwen2.5-VL with the real vocabulary."""
    torch.manual_seed(21)
    text = {
        "vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
        "tie_word_embeddings": True,
    }  # fmt: skip
    vision = {"depth": 2, "hidden_size": 64, "intermediate_size": 32, "num_heads": 16, "out_hidden_size": 16}
    config = Qwen2_5_VLConfig(
        text_config=text, vision_config=vision, image_token_id=PAD, vision_start_token_id=START, vision_end_token_id=END
    )
    return Qwen2_5_VLForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def net() -> Any:
    return speaker()


@pytest.fixture(scope="module")
def clip(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("clip")
    state = {
        key.replace("model.language_model.", "model.").replace("model.visual.", "visual."): value for key, value in net.state_dict().items()
    }
    save_safetensors(path / "model.safetensors", {key: value for key, value in state.items() if key != "lm_head.weight"})
    net.config.to_json_file(path / "config.json")  # a head is narrower than in published files
    return load_text_encoder(path, tiny.services(path), "qwen_image")


def context() -> Any:
    return SimpleNamespace(node="3", services=SimpleNamespace(pool=Pool("cpu")), check=lambda: None)


@torch.no_grad()
def expected(net: Any, text: str, drop: int, pictures: list[Tensor] | None = None) -> Tensor:
    """transformers' last hidden states, of the prompt and after; of the same patches of pictures [1, H, W, 3]."""
    ids = vocabulary(QWEN).tokenizer().encode(text, add_special_tokens=False).ids
    more: dict[str, Any] = {}
    if pictures:
        made = [patches(picture[0], QWEN2) for picture in pictures]
        counts = iter(rows * columns // 4 for _, rows, columns in made)
        ids = [token for one in ids for token in ([one] * next(counts) if one == PAD else [one])]
        more["pixel_values"] = torch.cat([values for values, _, _ in made])
        more["image_grid_thw"] = torch.tensor([[1, rows, columns] for _, rows, columns in made])
        more["mm_token_type_ids"] = torch.tensor([[int(token == PAD) for token in ids]])
    out = net(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)), output_hidden_states=True, **more)
    states: Tensor = out.hidden_states[-1][:, drop:]
    return states


def test_prompts_for_pictures_from_nothing(net: Any, clip: Any) -> None:
    made = text_encode_qwen_image_edit(context(), clip=clip, prompt="a red fox")
    assert (made[0][0] - expected(net, DESCRIBE.replace("{}", "a red fox"), 34)).abs().max() < 1e-4
    plain = clip.conditioning("a red fox", Pool("cpu"))
    assert torch.equal(made[0][0], plain[0][0])


def test_prompts_with_pictures(net: Any, clip: Any) -> None:
    vae: Any = SimpleNamespace(encode=lambda pixels, pool: torch.zeros(1, 16, 1, pixels.shape[1] // 8, pixels.shape[2] // 8))
    first, third = torch.rand(1, 60, 90, 4), torch.rand(1, 64, 32, 3)
    made = text_encode_qwen_image_edit_plus(context(), clip=clip, prompt="swap them", vae=vae, image1=first, image3=third)
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    text = EDIT.replace("{}", f"Picture 1: {mark}Picture 3: {mark}swap them")
    wanted = expected(net, text, 64, [scaled(first, 384 * 384), scaled(third, 384 * 384)])
    assert made[0][0].shape == wanted.shape
    assert (made[0][0] - wanted).abs().max() < 1e-3
    assert [tuple(latent.shape) for latent in made[0][1]["reference_latents"]] == [(1, 16, 1, 105, 157), (1, 16, 1, 181, 91)]


def test_an_encoder_that_cannot_read_pictures_is_told(tmp_path: Path) -> None:
    other = load_text_encoder(tiny.make().single(tmp_path / "m.safetensors"), tiny.services(tmp_path))
    with pytest.raises(BadInput, match="cannot read a prompt with pictures"):
        text_encode_qwen_image_edit(context(), clip=other, prompt="x")


def test_layers_and_angles() -> None:
    assert empty_qwen_image_layered(context(), width=640, height=320, layers=2, batch_size=2)["samples"].shape == (2, 16, 3, 40, 80)
    angle = camera_angle(context(), horizontal_angle=333, vertical_angle=17, zoom=5.0, view="camera")
    assert angle.prompt == "<sks> front-left quarter view elevated shot medium shot"
    above = camera_angle(context(), horizontal_angle=350, vertical_angle=60, zoom=9.0, view="camera")
    assert above.prompt == "<sks> front view high-angle shot close-up" and above.camera_info["position"]["y"] > 0

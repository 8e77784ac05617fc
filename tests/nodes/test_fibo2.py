"""Captions for Fibo 2 and its node, against diffusers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import BriaFibo2Pipeline
from diffusers.pipelines.bria_fibo2.image_processor import BriaFibo2ImageProcessor
from PIL import Image

from backend.base.errors import BadInput
from backend.families.fibo2.caption import size_for, to_edit, to_make
from backend.families.load import load_text_encoders
from nodes.fibo2 import _cut, text_encode_fibo2
from tests.families import spoken, tiny
from tests.nodes.bench import Bench

PROMPTS = (
    "a red cat",
    '{"short_description":"a cat","objects":[{"description":"","size":null}],"aesthetics":{"aesthetic_score":3,"m":"calm"},"light":{}}',
    '{"short_description":"","text_render":[]}',
    '{"edit_instruction":"snow","structured_caption":{"a":"","b":[1,""]}}',
    '{"edit_instruction":"snow","short_description":"a hill","preference_score":2,"x":{"aesthetic_score":1}}',
    '{"edit_instruction":"snow","structured_caption":"a hill"}',
    "[1, 2]",
    '"text"',
)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_captions(prompt: str) -> None:
    theirs = BriaFibo2Pipeline._parse_prompt(prompt)[0]
    assert to_make(prompt) == (prompt if isinstance(theirs, str) else json.dumps(theirs or {}, separators=(",", ":"), ensure_ascii=False))
    for count in (1, 3):
        assert to_edit(prompt, count) == BriaFibo2Pipeline._get_edit_prompt(prompt, count)


def test_sizes_and_cuts() -> None:
    processor = BriaFibo2ImageProcessor()
    for ratio in (1.0, 1.5, 0.4, 16 / 9):
        assert size_for(ratio) == processor.get_image_size(ratio)
    picture = (torch.rand(1, 37, 50, 3) * 0.2 + 0.4).mul(255).round().div(255)
    shown = Image.fromarray((picture[0] * 255).round().byte().numpy())
    (want,), _ = processor.preprocess(shown, height=32, width=64)
    assert (_cut(picture, 64, 32).movedim(-1, 1) - (want / 2 + 0.5)).abs().max() < 0.03  # that library rounds to whole bytes


def test_the_node(tmp_path: Path) -> None:
    spoken.qwen3_vl().save_pretrained(tmp_path / "text")
    clip = load_text_encoders([tmp_path / "text"], tiny.services(tmp_path), "fibo2")
    ctx = Bench(tmp_path / "home").context()
    seen: list[Any] = []
    vae = SimpleNamespace(encode=lambda pixels, pool, check: seen.append(pixels.shape) or torch.zeros(1, 128, 2, 2))
    plain = text_encode_fibo2(ctx, clip=clip, prompt="a cat", negative_prompt="", width=0, height=64, batch_size=2, vae=None)
    assert plain.latent["samples"].shape == (2, 128, 4, 64) and plain.positive[0][0].shape[-1] == 18 * 24
    edited = text_encode_fibo2(
        ctx, clip=clip, prompt="snow", negative_prompt="", width=64, height=96, batch_size=1, vae=vae,
        **{"images.image_1": torch.rand(1, 80, 80, 3), "images.image_2": None},
    )  # fmt: skip
    assert seen == [(1, 96, 64, 3)] and edited.latent["samples"].shape == (1, 128, 6, 4)
    assert len(edited.positive[0][1]["reference_latents"]) == len(edited.negative[0][1]["reference_latents"]) == 1
    with pytest.raises(BadInput, match="need a VAE"):
        text_encode_fibo2(
            ctx, clip=clip, prompt="snow", negative_prompt="", width=64, height=64, batch_size=1, vae=None,
            **{"images.image_1": torch.rand(1, 8, 8, 3)},
        )  # fmt: skip

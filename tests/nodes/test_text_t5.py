"""Loading several text encoders, and prompts for each of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.base.errors import BadInput, NotInstalled
from backend.weights.save import save_safetensors
from nodes import loaders, text_t5
from tests.families import texts
from tests.families.published import rooted
from tests.nodes.bench import Bench


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("t5"))
    folder = bench.folders.models / "text_encoders"
    folder.mkdir(parents=True, exist_ok=True)
    bigg = {f"text_encoders.clip_g.transformer.{key}": value for key, value in rooted(texts.clip(48, quick=False).state_dict()).items()}
    for name, state in {"l": rooted(texts.clip(32).state_dict()), "g": bigg, "t5": texts.t5(96).state_dict()}.items():
        kept = {key: value.contiguous().clone() for key, value in state.items() if key != "encoder.embed_tokens.weight"}
        save_safetensors(folder / f"{name}.safetensors", kept)
    return bench


def triple(bench: Bench) -> Any:
    names = {"clip_name1": "t5.safetensors", "clip_name2": "l.safetensors", "clip_name3": "g.safetensors"}
    return loaders.triple_clip_loader(bench.context(), **names)


def test_three_encoders_in_any_order(bench: Bench) -> None:
    clip, pool = triple(bench), bench.services.pool
    assert clip.branches == ("l", "g", "t5xxl")
    cond, more = clip.conditioning("a red cat", pool)[0]
    assert cond.shape == (1, 77 + 77, 96) and more["pooled_output"].shape == (1, 32 + 48)
    same = {"clip_l": "a red cat", "clip_g": "a red cat", "t5xxl": "a red cat"}
    ((again, told),) = text_t5.clip_text_encode_sd3(bench.context(), clip=clip, **same, empty_padding="none")
    assert torch.equal(again, cond) and torch.equal(told["pooled_output"], more["pooled_output"])


def test_encoders_that_are_told_nothing_say_nothing(bench: Bench) -> None:
    """Unless both of CLIP's are, they have equally many chunks."""
    clip = triple(bench)

    def shape(l: str, g: str, t5: str, padding: str = "none") -> tuple[int, ...]:
        made = text_t5.clip_text_encode_sd3(bench.context(), clip=clip, clip_l=l, clip_g=g, t5xxl=t5, empty_padding=padding)
        assert made[0][1]["pooled_output"].shape[0] == 1
        return tuple(made[0][0].shape)

    assert shape("", "a cat", "") == shape("", "", "") == (1, 77, 4096)  # as wide as the published T5 would be
    assert shape("", "", "a cat") == (1, 77, 96)
    assert shape("", "", "", "empty_prompt") == (1, 154, 96)
    assert shape("cat " * 90, "a cat", "cat " * 90) == (1, 154 + 91, 96)


def test_how_much_t5_is_filled_up(bench: Bench) -> None:
    clip = loaders.clip_loader(bench.context(), clip_name="t5.safetensors", type="sd3")
    assert clip.conditioning("a cat", bench.services.pool)[0][0].shape == (1, 77, 96)
    longer = text_t5.t5_tokenizer_options(bench.context(), clip=clip, min_padding=3, min_length=0)
    assert len(longer.tokenize("red cat")["t5xxl"][0]) == 6
    made = text_t5.clip_text_encode_pixart_alpha(bench.context(), width=512, height=256, text="a cat", clip=longer)
    assert made[0][1]["width"] == 512 and made[0][1]["height"] == 256


def test_the_wrong_encoders_are_named(bench: Bench) -> None:
    with pytest.raises(BadInput, match=r"hold T5-XXL.*CLIP-L.*SDXL reads CLIP-L and OpenCLIP-bigG"):
        loaders.dual_clip_loader(bench.context(), clip_name1="t5.safetensors", clip_name2="l.safetensors", type="sdxl")
    with pytest.raises(NotInstalled, match="type ace"):
        loaders.dual_clip_loader(bench.context(), clip_name1="t5.safetensors", clip_name2="l.safetensors", type="ace")
    plain = loaders.clip_loader(bench.context(), clip_name="t5.safetensors", type="stable_diffusion")
    assert plain.branches == ("t5xxl",)
    with pytest.raises(BadInput, match="this CLIP has h"):
        text_t5.clip_text_encode_sd3(
            bench.context(), clip=type("C", (), {"branches": ("h",)})(), clip_l="", clip_g="", t5xxl="", empty_padding="none"
        )

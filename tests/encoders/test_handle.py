"""The handle: a value that changes by copy, refuses what it cannot encode, and is found in files by names and shapes."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput
from backend.encoders.clip.handle import AT_ONCE, ClipHandle
from backend.encoders.clip.net import ClipSizes, ClipText
from backend.encoders.clip.spec import from_checkpoint, from_file
from backend.memory.pool import Pool
from backend.nn.layers import init_weights
from backend.weights.file import Entry
from backend.weights.open import open_weights
from backend.weights.patch import Patch
from backend.weights.save import save_safetensors

SIZES = ClipSizes(width=64, layers=3, heads=1, mlp=96)


@functools.cache
def state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return init_weights(ClipText(SIZES)).state_dict()


def header(tensors: dict[str, Tensor]) -> dict[str, Entry]:
    return {key: Entry(tuple(value.shape), value.dtype, value.nbytes) for key, value in tensors.items()}


def clip() -> ClipHandle:
    found = from_checkpoint(state(), header(state()))
    assert found is not None
    return found


@pytest.mark.parametrize("prefix", ["cond_stage_model.transformer.", ""])
@pytest.mark.parametrize("bare", [False, True])
def test_sizes_come_from_shapes(prefix: str, bare: bool) -> None:
    tensors = {prefix + (key.removeprefix("text_model.") if bare else key): value for key, value in state().items()}
    tensors |= {"model.diffusion_model.x": torch.zeros(1), "decoder.layers.0.weight": torch.zeros(1)}
    tensors[prefix + ("" if bare else "text_model.") + "embeddings.position_ids"] = torch.arange(77)[None]
    found = from_checkpoint(tensors, header(tensors))
    assert found is not None and found.sizes == SIZES
    assert set(found.loadable.source) == set(state())


def test_a_file_without_text_encoder_is_none() -> None:
    tensors = {"model.diffusion_model.x": torch.zeros(1)}
    assert from_checkpoint(tensors, header(tensors)) is None


def test_an_incomplete_encoder_is_named() -> None:
    lacking = {key: value for key, value in state().items() if "layers.1.mlp.fc2.bias" not in key}
    with pytest.raises(BadFile, match=r"without the weight text_model\.encoder\.layers\.1\.mlp\.fc2\.bias"):
        from_checkpoint(lacking, header(lacking))
    wrong = {**state(), "text_model.final_layer_norm.weight": torch.zeros(65)}
    with pytest.raises(BadFile, match=r"final_layer_norm.weight has the shape \[65\]"):
        from_checkpoint(wrong, header(wrong))
    headless = {"text_model.embeddings.token_embedding.weight": torch.zeros(10, 64)}
    with pytest.raises(BadFile, match="without the weight"):
        from_checkpoint(headless, header(headless))


def test_from_a_file_on_disk(tmp_path: Path) -> None:
    save_safetensors(tmp_path / "clip.safetensors", state())
    found = from_file(open_weights(tmp_path / "clip.safetensors"))
    assert found is not None and "clip.safetensors" in found.loadable.key
    assert torch.equal(found.conditioning("a cat", Pool("cpu"))[0][0], clip().conditioning("a cat", Pool("cpu"))[0][0])


def test_conditioning_is_what_the_wire_carries() -> None:
    ((cond, extra),) = clip().conditioning("a cat", Pool("cpu"))
    assert cond.shape == (1, 77, 64) and cond.dtype == torch.float32
    assert set(extra) == {"pooled_output"} and extra["pooled_output"].shape == (1, 64)


def test_tokens_may_carry_word_numbers() -> None:
    pool = Pool("cpu")
    plain, _ = clip().encode(clip().tokenize("a (red:1.3) cat"), pool)
    numbered, _ = clip().encode(clip().tokenize("a (red:1.3) cat", return_word_ids=True), pool)
    assert torch.equal(plain, numbered)


def test_changes_are_copies() -> None:
    first = clip()
    second = first.with_layer(-2)
    assert first.layer is None and second.layer == -2
    third = second.patched(Patch("text_model.final_layer_norm.bias", 1.0, "x", lambda w: w + 1))
    assert second.patches == () and len(third.patches) == 1
    assert first.leasable().fingerprint == "" != third.leasable().fingerprint
    pool = Pool("cpu")
    before, after = (h.encode(h.tokenize("cat"), pool)[0] for h in (second, third))
    assert torch.allclose(after, before + 1, atol=1e-6)
    assert torch.equal(second.encode(second.tokenize("cat"), pool)[0], before)


def test_the_empty_encoding_follows_layer_and_patches() -> None:
    first, pool = clip(), Pool("cpu")
    shifted = first.patched(Patch("text_model.final_layer_norm.bias", 1.0, "x", lambda w: w + 1))
    skipped = first.with_layer(-2)
    for handle in (first, shifted, skipped, first):
        empty, _ = handle.encode(handle.tokenize(""), pool)
        zero, _ = handle.encode(handle.tokenize("(cat dog:0)"), pool)
        assert torch.allclose(zero[0, 1:3], empty[0, 1:3], atol=1e-5)


def test_many_chunks_go_in_parts() -> None:
    handle, pool = clip(), Pool("cpu")
    prompt = " ".join(["red", "blue", "cat"][i % 3] for i in range(75 * (AT_ONCE + 2)))
    tokens = handle.tokenize(prompt)
    cond, pooled = handle.encode(tokens, pool)
    assert cond.shape == (1, 77 * (AT_ONCE + 2), 64)
    last, _ = handle.encode({"l": tokens["l"][-1:]}, pool)
    assert torch.allclose(cond[:, -77:], last, atol=1e-5)
    first, first_pooled = handle.encode({"l": tokens["l"][:1]}, pool)
    assert torch.allclose(cond[:, :77], first, atol=1e-5) and torch.allclose(pooled, first_pooled, atol=1e-5)


def test_bad_tokens_are_refused_in_words() -> None:
    handle, pool = clip(), Pool("cpu")
    (chunk,) = handle.tokenize("cat")["l"]
    with pytest.raises(BadInput, match="takes 'l'"):
        handle.encode({"g": [chunk]}, pool)
    with pytest.raises(BadInput, match="not in the vocabulary"):
        handle.encode({"l": [[(49408, 1.0), *chunk[1:]]]}, pool)
    with pytest.raises(BadInput, match="128 wide, this text encoder is 64 wide"):
        handle.encode({"l": [[*chunk[:1], (torch.zeros(128), 1.0), *chunk[2:]]]}, pool)
    with pytest.raises(BadInput, match="at most 77"):
        handle.encode({"l": [chunk + chunk[-1:]]}, pool)
    with pytest.raises(BadInput, match="-1"):
        handle.with_layer(0)


def test_half_precision_is_close() -> None:
    found = from_checkpoint(state(), header(state()), dtype=torch.bfloat16)
    assert found is not None
    got, _ = found.encode(found.tokenize("a (red:1.2) cat"), Pool("cpu"))
    want, _ = clip().encode(clip().tokenize("a (red:1.2) cat"), Pool("cpu"))
    assert got.dtype == torch.float32 and (got - want).abs().max() < 0.15

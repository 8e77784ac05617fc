"""Our T5 encoders against transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from backend.base.errors import BadFile, BadInput, MissingFile
from backend.encoders.t5.handle import T5Handle
from backend.encoders.t5.spec import LLAMA_CPP, text_encoders
from backend.encoders.text import Found
from backend.memory.pool import Pool
from backend.weights.file import WeightFile
from backend.weights.open import open_weights
from backend.weights.patch import Patch
from backend.weights.save import save_safetensors

transformers = pytest.importorskip("transformers")
ROOMY = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 3, "num_heads": 4, "dropout_rate": 0.0}
MAKES = {
    "t5xxl": ("T5", {"vocab_size": 32128, "feed_forward_proj": "gated-gelu"}),
    "old": ("T5", {"vocab_size": 32128, "feed_forward_proj": "relu", "d_kv": 16}),
    "umt5xxl": ("UMT5", {"vocab_size": 100_352, "feed_forward_proj": "gated-gelu"}),
    "pile_t5xl": ("UMT5", {"vocab_size": 32128, "feed_forward_proj": "gated-gelu"}),
}


def make(name: str) -> Any:
    family, own = MAKES[name]
    torch.manual_seed(0)
    net = getattr(transformers, f"{family}EncoderModel")(getattr(transformers, f"{family}Config")(**ROOMY | own)).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.1 + (parameter.ndim == 1))
    return net


def found(state: dict[str, Tensor], tmp_path: Path) -> WeightFile:
    return open_weights(save(state, tmp_path / "t.safetensors"))


def save(state: dict[str, Tensor], path: Path) -> Path:
    save_safetensors(path, {key: value.contiguous().clone() for key, value in state.items()})
    return path


def encoder(state: dict[str, Tensor], tmp_path: Path) -> T5Handle:
    (handle,) = text_encoders(Found(found(state, tmp_path), "t", torch.float32))
    return handle


def tokens(handle: T5Handle, *ids: int, length: int = 0) -> dict[str, Any]:
    row = [*ids, handle.end]
    return {handle.branch: [[(i, 1.0) for i in row + [handle.pad] * (length - len(row))]]}


@pytest.mark.parametrize("name", MAKES)
def test_hidden_states(name: str, tmp_path: Path) -> None:
    """With and without looking at padding; distances reach beyond the nearest buckets."""
    net = make(name)
    handle = encoder(net.state_dict(), tmp_path)
    assert handle.branch == ("t5xxl" if name == "old" else name)
    told = tokens(handle, *range(100, 240), length=170)
    ids = torch.tensor([[entry[0] for entry in told[handle.branch][0]]])
    mask = (torch.arange(170) <= 140).long()[None]
    for masked in (False, True):
        with torch.no_grad():
            want = net(ids, attention_mask=mask if masked else None).last_hidden_state
        got = replace(handle, masked=masked).encoded(told, Pool("cpu"))
        assert (got.cond - want)[:, :141].abs().max() < 1e-5
        assert ("attention_mask" in got.extra) == masked
        if masked:
            assert torch.equal(got.extra["attention_mask"], mask)
            zeroed = replace(handle, masked=True, zeroed=True).encoded(told, Pool("cpu"))
            assert (zeroed.cond - want * mask.unsqueeze(-1)).abs().max() < 1e-5 and not zeroed.extra


def test_names_of_files(tmp_path: Path) -> None:
    """In checkpoints, without the double of the table, under llama.cpp's names; the encodings are equal."""
    state = make("t5xxl").state_dict()
    want = encoder(state, tmp_path).encoded(tokens(encoder(state, tmp_path), 5, 6), Pool("cpu")).cond
    plain = {key: value for key, value in state.items() if key != "encoder.embed_tokens.weight"}
    inside = {f"text_encoders.t5xxl.transformer.{key}": value for key, value in plain.items()}
    cpp = {"token_embd.weight": plain["shared.weight"], "enc.output_norm.weight": plain["encoder.final_layer_norm.weight"]}
    for i in range(3):
        for theirs, ours in LLAMA_CPP.items():
            if f"encoder.block.{i}.{ours}.weight" in plain:
                cpp[f"enc.blk.{i}.{theirs}.weight"] = plain[f"encoder.block.{i}.{ours}.weight"]
    for one in (plain, inside, {**inside, "model.diffusion_model.x": torch.zeros(1)}, cpp):
        handle = encoder(one, tmp_path)
        assert torch.equal(handle.encoded(tokens(handle, 5, 6), Pool("cpu")).cond, want)


def test_few_bits(tmp_path: Path) -> None:
    """float8 with a scale for every weight, as the files most people have."""
    state = make("t5xxl").state_dict()
    kept, dense = {}, {}
    for key, value in state.items():
        dense[key] = kept[key] = value
        if value.ndim == 2 and "relative" not in key and "shared" not in key and "embed_tokens" not in key:
            scale = value.abs().max() / 400
            kept[key], kept[key.removesuffix("weight") + "scale_weight"] = (value / scale).to(torch.float8_e4m3fn), scale.reshape(1)
            dense[key] = kept[key].float() * scale
    kept["scaled_fp8"] = torch.empty(2, dtype=torch.float8_e4m3fn)
    want = encoder(dense, tmp_path).encoded(tokens(encoder(dense, tmp_path), 5, 6), Pool("cpu")).cond
    handle = encoder(kept, tmp_path)
    for budget in (None, 0):  # in memory, and brought at each use
        pool = Pool("cpu") if budget is None else Pool("cpu", budget)
        assert (handle.encoded(tokens(handle, 5, 6), pool).cond - want).abs().max() < 1e-5


def test_prompts(tmp_path: Path) -> None:
    """Weights move tokens away from the empty prompt's; padding follows the settings."""
    handle = encoder(make("t5xxl").state_dict(), tmp_path)
    (row,) = handle.tokenize("house (red:1.5) cat")["t5xxl"]
    assert row == [(629, 1.0), (1131, 1.5), (1712, 1.0), (1, 1.0)]
    (row,) = handle.with_options(t5xxl_min_length=9, umt5xxl_min_length=40).tokenize("red cat")["t5xxl"]
    assert [token for token, _ in row] == [1131, 1712, 1] + [0] * 6
    (row,) = handle.with_options(t5xxl_min_padding=2).tokenize("red cat", return_word_ids=True)["t5xxl"]
    assert row == [(1131, 1.0, 1), (1712, 1.0, 1), (1, 1.0, 0), (0, 1.0, 0), (0, 1.0, 0)]
    pool, plain = Pool("cpu"), tokens(handle, 7, 8)
    heavy = {"t5xxl": [[(7, 2.0), (8, 1.0), (1, 1.0)]]}
    empty, cond = handle.encoded({"t5xxl": [[(1, 1.0), (0, 1.0), (0, 1.0)]]}, pool).cond, handle.encoded(plain, pool).cond
    want = torch.cat([(cond - empty)[:, :1] * 2 + empty[:, :1], cond[:, 1:]], dim=1)
    assert (handle.encoded(heavy, pool).cond - want).abs().max() < 1e-5
    shifted = handle.patched(Patch("encoder.final_layer_norm.weight", 1.0, "x", lambda w: w * 2))
    assert torch.allclose(shifted.encoded(plain, pool).cond, cond * 2, atol=1e-5)


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    state = make("umt5xxl").state_dict()
    handle = encoder(state, tmp_path)
    with pytest.raises(MissingFile, match="UMT5"):
        handle.tokenize("a cat")
    with pytest.raises(BadInput, match="takes 'umt5xxl'"):
        handle.encoded({"l": [[(1, 1.0)]]}, Pool("cpu"))
    with pytest.raises(BadInput, match="not in the vocabulary"):
        handle.encoded(tokens(handle, 200_000), Pool("cpu"))
    del state["encoder.block.1.layer.1.layer_norm.weight"]
    with pytest.raises(BadFile, match=r"without the weight encoder.block.1.layer.1.layer_norm"):
        encoder(state, tmp_path)

"""Vocabularies of language models: the forms they are published in, where they are looked for, and what is said when one is missing."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
import torch

from backend.base.errors import BadFile, MissingFile
from backend.encoders.vocabularies import GEMMA, LLAMA3, MISTRAL, QWEN, QWEN3_5, T5, pieces, vocabulary
from backend.encoders.vocabularies import gguf as in_gguf
from backend.weights.held import Held
from tests.encoders.sentencepieces import sentencepiece


def ids(source: object, text: str) -> list[int]:
    return source.tokenizer().encode(text, add_special_tokens=False).ids  # type: ignore[attr-defined]


def test_qwen_ships() -> None:
    """Ids of the published implementation."""
    source = vocabulary(QWEN)
    assert ids(source, "A photo of 1234 cats,\n\n 日本 don't stop") == QWEN_IDS
    assert ids(source, "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|><think>") == [
        151644, 872, 198, 151652, 151655, 151653, 151667,
    ]  # fmt: skip
    assert source.tokenizer() is vocabulary(QWEN).tokenizer()  # read once


QWEN_IDS = [32, 6548, 315, 220, 16, 17, 18, 19, 19423, 3554, 75402, 21894, 1513, 944, 2936]


def test_qwen_3_5_ships() -> None:
    source = vocabulary(QWEN3_5)
    assert ids(source, "A photo of 1234 cats,\n\n 日本 don't stop") == [
        32, 6345, 314, 220, 16, 17, 18, 19, 18833, 11, 271, 220, 98823, 1459, 914, 2842,
    ]  # fmt: skip
    assert ids(source, "<|im_start|><|image_pad|><think>") == [248045, 248056, 248068]


def test_t5_ships() -> None:
    source = vocabulary(T5)
    assert ids(source, "A photo of  a cat, ｆｕｌｌ wide <extra_id_0>") == [71, 1202, 13, 3, 9, 1712, 6, 423, 1148, 32099]


def test_sentencepiece_with_byte_pairs() -> None:
    made = pieces.from_model(sentencepiece(pieces.BPE, prefix=False, fold=False))
    assert made.encode("abc ab", add_special_tokens=False).tokens == ["ab", "c", "▁ab"]
    assert made.encode("<turn>ab<bos>", add_special_tokens=False).ids == [2, 6, 1]
    assert made.decode([6, 5, 8]) == "abc ab"


def test_sentencepiece_with_unigrams() -> None:
    made = pieces.from_model(sentencepiece(pieces.UNIGRAM))
    assert made.encode("  ab  c ", add_special_tokens=False).tokens == ["▁ab", "▁", "c"]


@pytest.mark.parametrize("data", [b"", b"\xff" * 40, b"\x0a\x7fabc", sentencepiece(1)[:50], b"\x80" * 30])
def test_damaged_models(data: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        pieces.from_model(data)


@pytest.mark.parametrize("key", ["spiece_model", "text_encoders.spiece_model"])
def test_inside_the_weights(key: str, tmp_path: Path) -> None:
    model = torch.frombuffer(bytearray(sentencepiece(pieces.BPE, prefix=False, fold=False)), dtype=torch.uint8)
    source = vocabulary(GEMMA, Held({key: model}, str(tmp_path / "gemma.safetensors")))
    assert ids(source, "abc") == [6, 5]


def test_tekken(tmp_path: Path) -> None:
    tokens = [bytes([i]) for i in range(256)] + [b"ab", b"abc"]
    said = {
        "config": {"pattern": r"\S+|\s+", "default_vocab_size": 1258, "default_num_special_tokens": 1000},
        "vocab": [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)] + [{}],
    }
    data = torch.frombuffer(bytearray(json.dumps(said).encode()), dtype=torch.uint8)
    source = vocabulary(MISTRAL, Held({"tekken_model": data}, str(tmp_path / "mistral.safetensors")))
    assert ids(source, "[INST]abc ab[/INST]") == [3, 1257, 1032, 1256, 4]


def test_tiktoken_lines(tmp_path: Path) -> None:
    tokens = [bytes([i]) for i in range(256)] + [b"ab", b"bc", b"abc"]
    lines = b"".join(base64.b64encode(t) + f" {i}\n".encode() for i, t in enumerate(tokens))
    (tmp_path / "llama.tokenizer.model").write_bytes(lines)
    source = vocabulary(LLAMA3, Held({}, str(tmp_path / "llama.safetensors")))
    assert ids(source, "abc bcab<|eot_id|>") == [258, 32, 257, 256, 128009]


@pytest.mark.parametrize("place", ["model.spiece.model", "gemma.tokenizer.model", "model/tokenizer.model", "../tokenizer_2/spiece.model"])
def test_beside_the_weights(tmp_path: Path, place: str) -> None:
    path = (tmp_path / "text_encoder_2" / place).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "text_encoder_2").mkdir(exist_ok=True)
    path.write_bytes(sentencepiece(pieces.BPE, prefix=False, fold=False))
    assert ids(vocabulary(GEMMA, Held({}, str(tmp_path / "text_encoder_2" / "model.safetensors"))), "ab") == [6]


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "m.tokenizer.model"
    weights = Held({}, str(tmp_path / "m.safetensors"))
    path.write_bytes(sentencepiece(pieces.BPE, fold=False, prefix=False))
    assert ids(vocabulary(GEMMA, weights), "abc") == [6, 5]
    path.write_bytes(sentencepiece(pieces.BPE, fold=False, prefix=False, more=("abc",)))
    assert ids(vocabulary(GEMMA, weights), "abc") == [10]


def test_byte_pairs_in_two_files(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "ab": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na b\n")
    assert ids(vocabulary(QWEN, Held({}, str(tmp_path / "model.safetensors"))), "abb<|im_end|>") == [2, 1, 151645]


def test_in_a_gguf_file() -> None:
    facts = {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": ["a", "b", "ab", "<s>"], "tokenizer.ggml.merges": ["a b"]}
    made = in_gguf.from_facts(facts | {"tokenizer.ggml.token_type": [1, 1, 1, 3]}, QWEN)
    assert made.encode("ab<s>b", add_special_tokens=False).ids == [2, 3, 1]
    facts = {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": ["<unk>", "▁", "a", "▁a"], "tokenizer.ggml.scores": [0, -3, -2, -1]}
    made = in_gguf.from_facts(facts | {"tokenizer.ggml.token_type": [2, 1, 1, 1]}, GEMMA)
    assert made.encode("a a", add_special_tokens=False).ids == [3, 3]


def test_what_is_said_when_there_is_none(tmp_path: Path) -> None:
    (tmp_path / "text_encoders").mkdir()
    with pytest.raises(MissingFile, match=r"gemma_2_2b\.safetensors needs the vocabulary of Gemma") as raised:
        vocabulary(GEMMA, Held({}, str(tmp_path / "text_encoders" / "gemma_2_2b.safetensors")))
    assert "into text_encoders/ as gemma_2_2b.tokenizer.model or gemma.tokenizer.model" in raised.value.hint


def test_one_of_another_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tokenizer.model").write_bytes(sentencepiece(pieces.BPE))
    with pytest.raises(BadFile, match="has 10 tokens, but the weights have vectors for 8"):
        vocabulary(GEMMA, Held({}, str(tmp_path / "m.safetensors")), rows=8).tokenizer()
    (tmp_path / "m.tokenizer.model").write_bytes(b"\0" * 100)
    with pytest.raises(BadFile, match=r"cannot be read from m\.tokenizer\.model"):
        vocabulary(GEMMA, Held({}, str(tmp_path / "m.safetensors"))).tokenizer()

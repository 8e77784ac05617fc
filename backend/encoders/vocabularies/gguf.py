"""The vocabulary in the facts of a GGUF file: `tokenizer.ggml.model` names its make, `tokens` lists it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from backend.encoders.vocabularies import bytepairs, pieces
from backend.encoders.vocabularies.kinds import Kind
from backend.weights.gguf import read_facts

_START = "tokenizer.ggml."
_MAKES = {"gpt2", "llama", "t5", "gemma4"}


def has_vocabulary(path: Path) -> bool:
    """Whether the file lists tokens in a form that is read here. Raises BadFile."""
    facts = read_facts(path)
    return facts.get(_START + "model") in _MAKES and bool(facts.get(_START + "tokens"))


def from_file(path: Path, kind: Kind) -> Tokenizer:
    """The tokenizer that the facts describe. Raises ValueError, BadFile."""
    return from_facts(read_facts(path), kind)


def from_facts(facts: Mapping[str, Any], kind: Kind) -> Tokenizer:
    """`gpt2`: byte pairs and their merges; `llama`: SentencePiece with byte pairs; `t5`: SentencePiece with unigrams. Raises ValueError."""
    tokens: list[str] = facts[_START + "tokens"]
    kinds: list[int] = facts.get(_START + "token_type") or [pieces.NORMAL] * len(tokens)
    if facts[_START + "model"] == "gpt2":
        specials = {token: i for i, (token, k) in enumerate(zip(tokens, kinds, strict=True)) if k in (pieces.CONTROL, pieces.DEFINED)}
        if not kind.split:
            raise ValueError(f"it holds byte pairs, and {kind.name} has none")
        vocabulary = {token: i for i, token in enumerate(tokens)}
        return bytepairs.from_merges(facts[_START + "merges"], kind.split, specials, vocabulary)
    scores: list[float] = facts.get(_START + "scores") or [0.0] * len(tokens)
    model = pieces.Model(
        list(zip(tokens, scores, kinds, strict=True)),
        pieces.UNIGRAM if facts[_START + "model"] == "t5" else pieces.BPE,
        bytes(v & 0xFF for v in facts.get(_START + "precompiled_charsmap") or ()),
        bool(facts.get(_START + "add_space_prefix", True)),
        bool(facts.get(_START + "remove_extra_whitespaces", facts[_START + "model"] == "t5")),
    )
    return pieces.build(model)

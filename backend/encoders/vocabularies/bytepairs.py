"""Byte-level byte-pair vocabularies (Radford et al. 2019; GPT-2 and all that follow it) in the three forms they are published in."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from backend.encoders.clip.vocabulary import byte_symbols

Pairs = Sequence[tuple[str, str]]


def from_merges(lines: Iterable[str], split: str, specials: Mapping[str, int], vocabulary: Mapping[str, int] | None = None) -> Tokenizer:
    """Of `merges.txt`: pairs in order of rank. Without a `vocabulary` ids are the 256 bytes and then the merged pairs, as GPT-2 has them; a
    line with one word is a token that no pair makes.

    `split`: what pairs never cross. `specials`: further tokens, found in a text as they stand. Raises ValueError.
    """
    words = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    pairs = [(word[0], word[1]) for word in words if len(word) == 2]
    if any(len(word) > 2 for word in words):
        raise ValueError("a merge has more than two parts")
    known = vocabulary or {word: i for i, word in enumerate([*byte_symbols(), *map("".join, words)])}
    return build(known, pairs, split, specials)


def from_ranks(ranks: Mapping[bytes, int], split: str, specials: Mapping[str, int], first: int = 0) -> Tokenizer:
    """Of byte strings with ranks, which are also their ids counted from `first`: any two neighbours may merge whose union has a rank, the
    lowest first. Words that have a rank as a whole are taken whole."""
    names = dict(zip(_bytes_in_order(), byte_symbols(), strict=True))
    written = {token: "".join(names[byte] for byte in token) for token in ranks}
    pairs: list[tuple[str, str]] = []
    for token in sorted((t for t in ranks if len(t) > 1), key=ranks.__getitem__):
        cuts = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        pairs += [(written[a], written[b]) for a, b in sorted(cuts, key=lambda cut: (ranks[cut[0]], ranks[cut[1]]))]
    return build({written[token]: rank + first for token, rank in ranks.items()}, pairs, split, specials, whole=True)


def from_tiktoken(data: bytes, split: str, specials: Mapping[str, int]) -> Tokenizer:
    """Of tiktoken's lines: a token in base64, a space, its rank. Raises ValueError."""
    ranks: dict[bytes, int] = {}
    for line in data.splitlines():
        if line:
            token, _, rank = line.partition(b" ")
            ranks[_decoded(token)] = int(rank)
    return from_ranks(ranks, split, specials)


def from_tekken(data: bytes) -> Tokenizer:
    """Of Mistral's tekken.json, which says everything itself; ids count special tokens first. Raises ValueError, KeyError, TypeError."""
    said: dict[str, Any] = json.loads(data)
    config = said["config"]
    special_count = int(config["default_num_special_tokens"])
    wanted = int(config["default_vocab_size"]) - special_count
    ranks = {_decoded(entry["token_bytes"]): int(entry["rank"]) for entry in said["vocab"][:wanted]}
    named = {entry["token_str"]: int(entry["rank"]) for entry in said.get("special_tokens") or ()}
    return from_ranks(ranks, config["pattern"], named or MISTRAL_SPECIALS, special_count)


MISTRAL_SPECIALS = {
    name: i
    for i, name in enumerate(
        ("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]",
         "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]",
         "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]")
    )
}  # fmt: skip
"""Of tekken files that do not list theirs."""


def build(vocabulary: Mapping[str, int], pairs: Pairs, split: str, specials: Mapping[str, int], whole: bool = False) -> Tokenizer:
    """NFC, words by `split`, bytes, pairs. `whole`: a word that is in the vocabulary is one token whatever its pairs say."""
    every = {**vocabulary, **specials}
    tokenizer = Tokenizer(models.BPE(vocab=every, merges=list(pairs), ignore_merges=whole))
    if not whole:
        tokenizer.normalizer = normalizers.NFC()
    cut = pre_tokenizers.Split(Regex(split), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    in_order = sorted(specials, key=specials.__getitem__)
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in in_order])
    return tokenizer


def _bytes_in_order() -> list[int]:
    """The byte that each of `byte_symbols` stands for."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable + sorted(set(range(256)) - set(printable))


def _decoded(token: bytes | str) -> bytes:
    try:
        return base64.b64decode(token, validate=True)
    except binascii.Error as error:
        raise ValueError(f"{token[:40]!r} is not base64") from error

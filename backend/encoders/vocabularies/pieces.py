"""SentencePiece models (Kudo and Richardson 2018, arXiv:1808.06226), read from their bytes: a protocol buffer of pieces, scores, rules.

Fields of the model: 1 piece (1 text, 2 score, 3 kind), 2 trainer (3 algorithm), 3 normaliser (2 table, 3 leading blank, 4 fold blanks).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

BLANK = "▁"
NORMAL, UNKNOWN, CONTROL, DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
UNIGRAM, BPE = 1, 2


@dataclass
class Model:
    """What tokenization needs of a model."""

    pieces: list[tuple[str, float, int]] = field(default_factory=list)
    """(text, score, kind) in order of id."""
    algorithm: int = UNIGRAM
    table: bytes = b""
    """Which characters are written otherwise."""
    prefix: bool = True
    """Whether a text begins with a blank."""
    fold: bool = True
    """Whether blanks at the ends go and runs become one."""


def read(data: bytes) -> Model:
    """Raises ValueError where the bytes are no such model."""
    model = Model()
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            model.pieces.append(_piece(value))
        elif number == 2 and isinstance(value, bytes):
            model.algorithm = next((int(v) for n, v in _fields(value) if n == 3 and isinstance(v, int)), UNIGRAM)
        elif number == 3 and isinstance(value, bytes):
            for n, v in _fields(value):
                if n == 2 and isinstance(v, bytes):
                    model.table = v
                elif n == 3:
                    model.prefix = bool(v)
                elif n == 4:
                    model.fold = bool(v)
    if not model.pieces or model.algorithm not in (UNIGRAM, BPE):
        raise ValueError("it holds no pieces")
    return model


def _piece(data: bytes) -> tuple[str, float, int]:
    text, score, kind = "", 0.0, NORMAL
    for number, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif number == 2 and isinstance(value, bytes):
            score = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            kind = value
    return text, score, kind


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a message: a number for whole numbers, bytes for everything else."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            if at >= len(data) or shift > 63:
                raise ValueError("it ends too early")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while at < len(data):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) or (varint() if wire == 2 else 0)
        if wire not in (1, 2, 5) or at + size > len(data):
            raise ValueError("it is no SentencePiece model")
        yield number, data[at : at + size]
        at += size


def from_model(data: bytes) -> Tokenizer:
    """The tokenizer of a `.model` file's bytes. Raises ValueError."""
    return build(read(data))


def build(model: Model) -> Tokenizer:
    """Control pieces and those that a model's makers defined are found in a text as they stand."""
    unknown = next((i for i, (_, _, kind) in enumerate(model.pieces) if kind == UNKNOWN), 0)
    with_bytes = any(kind == BYTE for _, _, kind in model.pieces)
    if model.algorithm == UNIGRAM:
        scored = [(text, score) for text, score, _ in model.pieces]
        tokenizer = Tokenizer(models.Unigram(scored, unk_id=unknown, byte_fallback=with_bytes))
    else:
        ids = {text: i for i, (text, _, _) in enumerate(model.pieces)}
        name = model.pieces[unknown][0]
        tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges(model.pieces), unk_token=name, fuse_unk=True, byte_fallback=with_bytes))
    steps: list[normalizers.Normalizer] = []
    if model.table:
        steps.append(normalizers.Precompiled(model.table))
    if model.fold:
        steps += [normalizers.Strip(), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.algorithm == BPE:
        steps += [normalizers.Prepend(BLANK)] if model.prefix else []
        steps.append(normalizers.Replace(" ", BLANK))
        tokenizer.decoder = decoders.Sequence([decoders.Replace(BLANK, " "), decoders.ByteFallback(), decoders.Fuse()])
    else:
        scheme = "always" if model.prefix else "never"
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=BLANK, prepend_scheme=scheme)
        tokenizer.decoder = decoders.Metaspace(replacement=BLANK, prepend_scheme=scheme)
    tokenizer.normalizer = normalizers.Sequence(steps)
    found = [(text, kind) for text, _, kind in model.pieces if kind in (CONTROL, DEFINED)]
    tokenizer.add_tokens([AddedToken(text, special=kind == CONTROL, normalized=False) for text, kind in found])
    return tokenizer


def merges(pieces: Sequence[tuple[str, float, int]]) -> list[tuple[str, str]]:
    """Byte-pair models keep scores, not pairs: two neighbours merge whose union is a piece, the one with the highest score first."""
    score = {text: s for text, s, kind in pieces if kind in (NORMAL, DEFINED, UNUSED)}
    order = {text: i for i, (text, _, _) in enumerate(pieces)}
    found: list[tuple[float, int, int, str, str]] = []
    for text, s in score.items():
        for i in range(1, len(text)):
            left, right = text[:i], text[i:]
            if left in score and right in score:
                found.append((-s, order[left], order[right], left, right))
    return [(left, right) for *_, left, right in sorted(found)]

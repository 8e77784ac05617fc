"""SentencePiece models of a few pieces, written byte by byte."""

from __future__ import annotations

import struct

from backend.encoders.vocabularies import pieces

WORDS = ["a", "b", "c", "ab", "▁", "▁ab", "c▁"]


def varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out, value = out + bytes([value & 0x7F | 0x80]), value >> 7
    return out + bytes([value])


def entry(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def sentencepiece(algorithm: int, prefix: bool = True, fold: bool = True, more: tuple[str, ...] = ()) -> bytes:
    """A SentencePiece model of a few pieces."""
    listed = [("<unk>", 0.0, pieces.UNKNOWN), ("<bos>", 0.0, pieces.CONTROL), ("<turn>", 0.0, pieces.DEFINED)]
    listed += [(word, float(-i if algorithm == pieces.BPE else len(word) * 2 - 9), pieces.NORMAL) for i, word in enumerate([*WORDS, *more])]
    data = b""
    for text, score, kind in listed:
        data += entry(1, entry(1, text.encode()) + b"\x15" + struct.pack("<f", score) + entry(3, kind))
    return data + entry(2, entry(3, algorithm)) + entry(3, entry(3, int(prefix)) + entry(4, int(fold)))

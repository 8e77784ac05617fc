"""The text notes of sound in MP3 and Ogg files. As in `containers`, every size is a claim, and sound is never decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

from backend.workflow.containers import MOST_PARTS, MOST_TEXT, Damaged, Reader, Texts, take, vorbis

_ENCODINGS = ("latin-1", "utf-16", "utf-16-be", "utf-8")
_COMMENTS = (b"OpusTags", b"\x03vorbis")


def mp3(file: BinaryIO) -> Texts:
    """The user-defined texts (TXXX) of an ID3v2 tag, version 3 or 4."""
    head = take(file, 10)
    version, flags = head[3], head[5]
    if version not in (3, 4):
        return {}
    data = take(file, _synchsafe(head[6:10]))
    if flags & 0x80 and version == 3:
        data = data.replace(b"\xff\x00", b"\xff")
    at = 0
    if flags & 0x40 and len(data) >= 4:
        at = _synchsafe(data[:4]) if version == 4 else 4 + int.from_bytes(data[:4], "big")
    texts: Texts = {}
    for _ in range(MOST_PARTS):
        kind, size = data[at : at + 4], data[at + 4 : at + 8]
        if len(size) < 4 or not kind.strip(b"\0"):
            break
        length = _synchsafe(size) if version == 4 else int.from_bytes(size, "big")
        if at + 10 + length > len(data):
            raise Damaged("a note leads outside of its tag")
        if kind == b"TXXX" and length:
            name, value = _user_text(data[at + 10 : at + 10 + length])
            texts.setdefault(name.lower(), value)
        at += 10 + length
    return texts


def _synchsafe(four: bytes) -> int:
    """A number of four bytes with seven bits each."""
    if any(b & 0x80 for b in four):
        raise Damaged("a size in its tag is none")
    return four[0] << 21 | four[1] << 14 | four[2] << 7 | four[3]


def _user_text(body: bytes) -> tuple[str, str]:
    if body[0] >= len(_ENCODINGS):
        raise Damaged("a note is in an encoding that does not exist")
    try:
        name, _, value = body[1:].decode(_ENCODINGS[body[0]]).partition("\0")
    except UnicodeDecodeError as error:
        raise Damaged("a note is not the text it claims to be") from error
    return name, value.lstrip("\ufeff").rstrip("\0")


def ogg(file: BinaryIO) -> Texts:
    """The comments of Opus or Vorbis sound: the second packet of the first stream."""
    for number, packet in enumerate(_packets(file)):
        for mark in _COMMENTS:
            if packet.startswith(mark):
                return vorbis(packet[len(mark) :])
        if number:
            break
    return {}


def _packets(file: BinaryIO) -> Iterator[bytes]:
    """The packets of the stream that begins first, each put together from its pages."""
    stream, total = b"", 0
    parts: list[bytes] = []
    for _ in range(MOST_PARTS):
        head = file.read(27)
        if len(head) < 27:
            return
        if head[:4] != b"OggS":
            raise Damaged("a page does not begin as such")
        stream = stream or head[14:18]
        sizes = take(file, head[26])
        if head[14:18] != stream:
            file.seek(sum(sizes), 1)
            continue
        for size in sizes:
            parts.append(take(file, size))
            total += size
            if total > MOST_TEXT:
                raise Damaged(f"a packet claims more than {MOST_TEXT >> 20} MB")
            if size < 255:
                yield b"".join(parts)
                parts, total = [], 0


READERS: tuple[tuple[str, Callable[[bytes], bool], Reader], ...] = (
    ("an MP3 recording", lambda h: h.startswith(b"ID3"), mp3),
    ("an Ogg recording", lambda h: h.startswith(b"OggS"), ogg),
)

"""The text notes of media containers, read without decoding the media. Every size in a file is a claim: nothing is read beyond a limit."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

MOST_TEXT = 64 << 20
MOST_PARTS = 200_000
Texts = dict[str, str]


class Damaged(ValueError):
    """The container is not what it claims to be; the text ends a sentence "... is damaged: "."""


def take(file: BinaryIO, count: int) -> bytes:
    """Exactly `count` bytes. Raises Damaged when there are fewer, or more are claimed than a note may have."""
    if count > MOST_TEXT:
        raise Damaged(f"a note claims {count:,} bytes")
    data = file.read(count)
    if len(data) != count:
        raise Damaged("it ends too early")
    return data


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _inflated(data: bytes) -> bytes:
    engine = zlib.decompressobj()
    try:
        found = engine.decompress(data, MOST_TEXT)
    except zlib.error as error:
        raise Damaged(f"a compressed note cannot be read ({error})") from error
    if engine.unconsumed_tail:
        raise Damaged(f"a compressed note unfolds to more than {MOST_TEXT >> 20} MB")
    return found


def png(file: BinaryIO) -> Texts:
    """tEXt, zTXt, iTXt and `comf` chunks. A picture that is cut off gives what came before the cut."""
    file.seek(8)
    texts: Texts = {}
    total = 0
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            break
        if kind not in (b"tEXt", b"zTXt", b"iTXt", b"comf"):
            file.seek(length + 4, 1)
            continue
        data = take(file, length)
        file.seek(4, 1)
        key, value = _png_note(kind, data)
        total += len(value)
        if total > MOST_TEXT:
            raise Damaged(f"its notes have more than {MOST_TEXT >> 20} MB")
        texts.setdefault(key, value)
    return texts


def _png_note(kind: bytes, data: bytes) -> tuple[str, str]:
    name, _, rest = data.partition(b"\0")
    key = name.decode("latin-1")
    if kind == b"zTXt":
        return key, _text(_inflated(rest[1:]))
    if kind == b"iTXt":
        compressed = rest[:1] == b"\1"
        parts = rest[2:].split(b"\0", 2)
        body = parts[2] if len(parts) == 3 else b""
        return key, _text(_inflated(body) if compressed else body)
    return key, _text(rest)


def webp(file: BinaryIO) -> Texts:
    """The EXIF chunk."""
    file.seek(12)
    for _ in range(MOST_PARTS):
        head = file.read(8)
        if len(head) < 8:
            break
        kind, length = struct.unpack("<4sI", head)
        if kind == b"EXIF":
            return exif(take(file, length))
        file.seek(length + (length & 1), 1)
    return {}


def jpeg(file: BinaryIO) -> Texts:
    """The EXIF segment, which comes before the pixels."""
    file.seek(2)
    for _ in range(MOST_PARTS):
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            break
        length = struct.unpack(">H", head[2:])[0] - 2
        if length < 0:
            raise Damaged("a segment is shorter than its head")
        body = take(file, length)
        if head[1] == 0xE1 and body.startswith(b"Exif\0\0"):
            return exif(body)
    return {}


def exif(data: bytes) -> Texts:
    """ASCII tags `key:value` of the first directory; the tags from Model (0x0110) downwards are used for it."""
    data = data.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:
        raise Damaged("its EXIF does not begin as such")
    texts: Texts = {}
    (start,) = struct.unpack_from(order + "I", data, 4)
    if start + 2 > len(data):
        raise Damaged("its EXIF leads outside of itself")
    (count,) = struct.unpack_from(order + "H", data, start)
    for i in range(min(count, (len(data) - start - 2) // 12)):
        at = start + 2 + 12 * i
        tag, kind, length, offset = struct.unpack_from(order + "HHII", data, at)
        if kind not in (2, 7) or tag > 0x0110:
            continue
        value = data[at + 8 : at + 8 + length] if length <= 4 else data[offset : offset + length]
        key, colon, text = value.partition(b":")
        if colon and len(key) < 80:
            texts.setdefault(_text(key), _text(text.rstrip(b"\0")))
    return texts


def flac(file: BinaryIO) -> Texts:
    """The Vorbis comment block."""
    file.seek(4)
    for _ in range(MOST_PARTS):
        head = file.read(4)
        if len(head) < 4:
            break
        length = int.from_bytes(head[1:], "big")
        if head[0] & 0x7F == 4:
            return vorbis(take(file, length))
        if head[0] & 0x80:
            break
        file.seek(length, 1)
    return {}


def vorbis(data: bytes) -> Texts:
    """A comment header: vendor, count, then `KEY=value` with sizes in front."""
    texts: Texts = {}
    at = 0

    def number() -> int:
        nonlocal at
        if at + 4 > len(data):
            raise Damaged("its comments end too early")
        (found,) = struct.unpack_from("<I", data, at)
        at += 4
        return int(found)

    vendor = number()
    at += vendor
    for _ in range(min(number(), MOST_PARTS)):
        size = number()
        key, equals, value = data[at : at + size].partition(b"=")
        at += size
        if equals:
            texts.setdefault(_text(key).lower(), _text(value))
    return texts


def mp4(file: BinaryIO) -> Texts:
    """Tags by name (`keys` and `ilst`) anywhere under `moov`. Boxes are skipped by their size."""
    keys: list[str] = []
    values: dict[int, str] = {}
    for kind, start, end in _boxes(file):
        if kind == b"keys":
            file.seek(start + 4)
            count = min(int.from_bytes(take(file, 4), "big"), MOST_PARTS)
            for _ in range(count):
                size = int.from_bytes(take(file, 4), "big")
                if size < 8:
                    raise Damaged("a name of a tag is shorter than nothing")
                keys.append(_text(take(file, size - 4)[4:]))
        elif kind == b"data":  # the value of the entry whose number was the kind of the box around it
            file.seek(start)
            body = take(file, end - start)
            values.setdefault(_boxed_in(file, start), _text(body[8:]))
    return {keys[i - 1].lower(): value for i, value in values.items() if 0 < i <= len(keys)}


def _boxed_in(file: BinaryIO, start: int) -> int:
    """The number in the header of the entry around a `data` box whose content begins at `start`."""
    file.seek(start - 12)
    return int.from_bytes(take(file, 4), "big")


def _boxes(file: BinaryIO) -> Any:
    """Every box that matters with the limits of its content, outer ones entered: (kind, start, end)."""
    file.seek(0, 2)
    waiting = [(0, file.tell(), b"")]
    seen = 0
    while waiting:
        at, end, parent = waiting.pop()
        while at + 8 <= end:
            seen += 1
            if seen > MOST_PARTS:
                raise Damaged("it has too many parts")
            file.seek(at)
            size, kind = struct.unpack(">I4s", take(file, 8))
            begin = at + 8
            if size == 1:
                size = int.from_bytes(take(file, 8), "big")
                begin += 8
            stop = end if size == 0 else at + size
            if stop > end or stop < begin:
                raise Damaged("a part is larger than what holds it")
            if kind in (b"moov", b"udta", b"ilst") or parent == b"ilst":
                waiting.append((begin, stop, kind))
            elif kind == b"meta":
                file.seek(begin)
                full = take(file, min(8, stop - begin))[4:8] != b"hdlr"  # QuickTime has no version in front
                waiting.append((begin + 4 if full else begin, stop, kind))
            elif kind in (b"keys", b"data"):
                yield kind, begin, stop
            at = stop


_SEGMENT, _TAGS, _TAG, _SIMPLE, _NAME, _STRING = 0x18538067, 0x1254C367, 0x7373, 0x67C8, 0x45A3, 0x4487
_CLUSTER, _UNKNOWN = 0x1F43B675, -1


def webm(file: BinaryIO) -> Texts:
    """SimpleTag names and strings. Clusters are passed over by their size."""
    file.seek(0, 2)
    waiting = [(0, file.tell())]
    texts: Texts = {}
    name = ""
    seen = 0
    while waiting:
        at, end = waiting.pop()
        while at < end:
            seen += 1
            if seen > MOST_PARTS:
                raise Damaged("it has too many parts")
            file.seek(at)
            id, size = _vint(file, True), _vint(file, False)
            begin = file.tell()
            stop = end if size == _UNKNOWN else begin + size
            if size == _UNKNOWN and id != _SEGMENT:
                break  # a live recording: nothing can follow that could be found
            if id in (_SEGMENT, _TAGS, _TAG, _SIMPLE):
                waiting.append((min(stop, end), end))
                at, end = begin, min(stop, end)
                continue
            if id == _NAME:
                name = _text(take(file, size)).lower()
            elif id == _STRING and name:
                texts.setdefault(name, _text(take(file, size)))
                name = ""
            at = stop
    return texts


def _vint(file: BinaryIO, keep_marker: bool) -> int:
    first = take(file, 1)[0]
    length = 9 - first.bit_length()
    if length > 8:
        raise Damaged("a part has no size")
    value = first if keep_marker else first & ((1 << (8 - length)) - 1)
    rest = take(file, length - 1)
    if not keep_marker and value == (1 << (8 - length)) - 1 and all(b == 255 for b in rest):
        return _UNKNOWN
    return int.from_bytes(bytes([value]) + rest, "big")


def svg(file: BinaryIO) -> Texts:
    """The JSON object in `<metadata>`. The text is searched, not parsed as XML, whose entities can be made to explode."""
    data = file.read(MOST_TEXT + 1)
    if len(data) > MOST_TEXT:
        raise Damaged(f"it has more than {MOST_TEXT >> 20} MB")
    text = _text(data)
    start = text.find("<metadata")
    start = text.find(">", start) + 1 if start >= 0 else 0
    end = text.find("</metadata>", start)
    if start == 0 or end < 0:
        return {}
    body = text[start:end].strip()
    if body.startswith("<![CDATA["):
        body = body[9:].rpartition("]]>")[0]
    return _object(body)


def glb(file: BinaryIO) -> Texts:
    """`asset.extras` of the JSON chunk."""
    file.seek(12)
    length, kind = struct.unpack("<I4s", take(file, 8))
    if kind != b"JSON":
        raise Damaged("it does not begin with its description")
    found = _loads(take(file, length))
    asset = found.get("asset") if isinstance(found, dict) else None
    return _strings(asset.get("extras") if isinstance(asset, dict) else None)


def safetensors(file: BinaryIO) -> Texts:
    """`__metadata__` of the header; tensors are not touched."""
    (length,) = struct.unpack("<Q", take(file, 8))
    found = _loads(take(file, length))
    return _strings(found.get("__metadata__") if isinstance(found, dict) else None)


def _loads(text: str | bytes) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its description is not JSON ({str(error)[:100]})") from error


def _object(text: str) -> Texts:
    return _strings(_loads(text)) if text.lstrip().startswith("{") else {}


def _strings(found: Any) -> Texts:
    """Values as text; an object in its place becomes text again."""
    if not isinstance(found, dict):
        return {}
    try:
        return {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
    except RecursionError as error:
        raise Damaged("its description is nested too deeply") from error


Reader = Callable[[BinaryIO], Texts]
READERS: tuple[tuple[str, Callable[[bytes], bool], Reader], ...] = (
    ("a PNG picture", lambda h: h.startswith(b"\x89PNG\r\n\x1a\n"), png),
    ("a WebP picture", lambda h: h[:4] == b"RIFF" and h[8:12] == b"WEBP", webp),
    ("a JPEG picture", lambda h: h.startswith(b"\xff\xd8\xff"), jpeg),
    ("a FLAC recording", lambda h: h.startswith(b"fLaC"), flac),
    ("an MP4 film", lambda h: h[4:8] == b"ftyp", mp4),
    ("a WebM film", lambda h: h.startswith(b"\x1aE\xdf\xa3"), webm),
    ("a GLB model", lambda h: h.startswith(b"glTF"), glb),
    ("a safetensors file", lambda h: h[8:9] == b"{" and h[:8] != b"{" * 8 and h[5:8] == b"\0\0\0", safetensors),
    ("an SVG picture", lambda h: h.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<svg", b"<?xml", b"<!--", b"<!DOCTYPE svg")), svg),
)

"""Graphs out of files of other programs: found where they are, and nothing a file claims is believed."""

from __future__ import annotations

import contextlib
import io
import json
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from backend.base.errors import BadFile, MissingFile
from backend.storage.images import exif_of
from backend.workflow.containers import MOST_TEXT
from backend.workflow.metadata import Embedded, read, read_bytes

PROMPT = {"1": {"class_type": "A", "inputs": {"text": "ä 猫"}}}
WORKFLOW: dict[str, Any] = {"nodes": [{"id": 1, "type": "A"}], "links": [], "version": 0.4}
TEXTS = {"prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}


def both(found: Embedded) -> bool:
    return found.prompt == PROMPT and found.workflow == WORKFLOW


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes, tail: bytes = b"") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    data = out.getvalue()
    end = data.rindex(b"IEND") - 4
    return data[:end] + b"".join(chunks) + tail + data[end:]


def test_png_texts_of_pillow() -> None:
    out = io.BytesIO()
    info = PngInfo()
    info.add_text("prompt", TEXTS["prompt"])
    info.add_text("workflow", TEXTS["workflow"], zip=True)
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    assert both(read_bytes(out.getvalue()))
    info = PngInfo()
    for key, value in TEXTS.items():
        info.add_itxt(key, value, zip=key == "prompt")
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG", pnginfo=info)
    assert both(read_bytes(out.getvalue()))


def test_animated_png() -> None:
    assert both(read_bytes(png(*(chunk(b"comf", k.encode() + b"\0" + v.encode("latin-1")) for k, v in TEXTS.items()))))


def test_a_png_that_is_cut_off_behind_its_texts_is_read() -> None:
    head = png()[:33]
    texts = b"".join(chunk(b"tEXt", k.encode() + b"\0" + v.encode()) for k, v in TEXTS.items())
    assert both(read_bytes(head + texts + b"\0\0"))


@pytest.mark.parametrize("lossless", [True, False])
def test_webp(lossless: bool) -> None:
    out = io.BytesIO()
    Image.new("RGB", (4, 4)).save(out, "WEBP", exif=exif_of(TEXTS), lossless=lossless)
    assert both(read_bytes(out.getvalue()))


def test_svg_and_glb_and_safetensors_and_json() -> None:
    values = {"prompt": PROMPT, "workflow": WORKFLOW}
    assert both(read_bytes(f"<svg xmlns='x'><metadata><![CDATA[{json.dumps(values)}]]></metadata></svg>".encode()))
    body = json.dumps({"asset": {"version": "2.0", "extras": TEXTS}}).encode()
    assert both(read_bytes(b"glTF" + struct.pack("<II", 2, 20 + len(body)) + struct.pack("<I", len(body)) + b"JSON" + body))
    header = json.dumps({"__metadata__": TEXTS}).encode()
    assert both(read_bytes(struct.pack("<Q", len(header)) + header))
    assert both(read_bytes(json.dumps(values).encode()))
    assert read_bytes(b"\xef\xbb\xbf" + json.dumps(PROMPT).encode()).prompt == PROMPT
    assert read_bytes(json.dumps({"prompt": WORKFLOW}).encode()).workflow == WORKFLOW


def vorbis() -> bytes:
    lines = [f"{k.upper()}={v}".encode() for k, v in TEXTS.items()]
    return struct.pack("<I", 3) + b"me!" + struct.pack("<I", len(lines)) + b"".join(struct.pack("<I", len(x)) + x for x in lines)


def test_flac() -> None:
    body = vorbis()
    stream = b"fLaC" + b"\0\0\0\x22" + bytes(34) + b"\x84" + len(body).to_bytes(3, "big") + body + b"\xff\xf8sound"
    assert both(read_bytes(stream))


def synchsafe(number: int) -> bytes:
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def id3(version: int, encoding: int) -> bytes:
    words = ("latin-1", "utf-16", "utf-16-be", "utf-8")[encoding]
    frames = b"TSSE" + struct.pack(">I", 3) + b"\0\0\3me"
    for key, value in TEXTS.items():
        body = bytes([encoding]) + f"{key}\0{value}".encode(words)
        frames += b"TXXX" + (synchsafe(len(body)) if version == 4 else struct.pack(">I", len(body))) + b"\0\0" + body
    return b"ID3" + bytes([version, 0, 0]) + synchsafe(len(frames) + 20) + frames + bytes(20) + b"\xff\xfbsound"


@pytest.mark.parametrize(("version", "encoding"), [(3, 0), (3, 1), (4, 2), (4, 3)])
def test_mp3(version: int, encoding: int) -> None:
    assert both(read_bytes(id3(version, encoding)))


def page(packet: bytes, stream: int = 7) -> bytes:
    """Pages of one packet, at most 20 segments each."""
    sizes = [255] * (len(packet) // 255) + [len(packet) % 255]
    made, at = b"", 0
    for first in range(0, len(sizes), 20):
        part = sizes[first : first + 20]
        made += b"OggS\0\0" + bytes(8) + struct.pack("<III", stream, 0, 0) + bytes([len(part), *part]) + packet[at : at + sum(part)]
        at += sum(part)
    return made


@pytest.mark.parametrize("mark", [b"OpusTags", b"\x03vorbis"])
def test_ogg(mark: bytes) -> None:
    assert both(read_bytes(page(b"head") + page(b"other", 9) + page(mark + vorbis() + bytes(9000)) + page(b"sound")))


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


@pytest.mark.parametrize("quicktime", [True, False])
def test_mp4(quicktime: bool) -> None:
    names = b"".join(struct.pack(">I", 8 + len(k)) + b"mdta" + k.encode() for k in TEXTS)
    keys = box(b"keys", bytes(4), struct.pack(">I", 2), names)
    entries = [box(struct.pack(">I", i + 1), box(b"data", struct.pack(">II", 1, 0), v.encode())) for i, v in enumerate(TEXTS.values())]
    meta = box(b"meta", b"" if quicktime else bytes(4), box(b"hdlr", bytes(24)), keys, box(b"ilst", *entries))
    moov = box(b"moov", box(b"mvhd", bytes(100)), meta if quicktime else box(b"udta", meta))
    assert both(read_bytes(box(b"ftyp", b"isom") + box(b"mdat", bytes(5000)) + moov))


def element(id: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return id.to_bytes((id.bit_length() + 7) // 8, "big") + (len(body) | 1 << 56).to_bytes(8, "big") + body


@pytest.mark.parametrize("live", [True, False])
def test_webm(live: bool) -> None:
    tags = [element(0x7373, element(0x67C8, element(0x45A3, k.upper().encode()), element(0x4487, v.encode()))) for k, v in TEXTS.items()]
    parts = (element(0x1F43B675, bytes(3000)), element(0x1254C367, *tags))
    segment = element(0x18538067, *parts) if not live else b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"".join(parts)
    assert both(read_bytes(element(0x1A45DFA3, b"\0") + segment))


def test_fingerprints_of_another_time_are_left_out_and_nan_is_no_obstacle() -> None:
    text = '{"1": {"class_type": "A", "inputs": {"x": NaN, "y": 1e999}, "is_changed": [NaN]}}'
    assert read_bytes(text.encode()).prompt == {"1": {"class_type": "A", "inputs": {"x": None, "y": None}}}


def bomb(size: int) -> bytes:
    engine = zlib.compressobj(9)
    return b"".join(engine.compress(bytes(1 << 20)) for _ in range(size >> 20)) + engine.flush()


def test_bombs_are_not_unfolded() -> None:
    packed = bomb(4 * MOST_TEXT)
    for note in (chunk(b"zTXt", b"workflow\0\0" + packed), chunk(b"iTXt", b"workflow\0\1\0\0\0" + packed)):
        begun = time.process_time()
        with pytest.raises(BadFile, match="unfolds"):
            read_bytes(png(note))
        assert time.process_time() - begun < 10


@pytest.mark.parametrize("data", [b"", b"hello", b"\0\1\2", b"[[[", b"{}", b"[]", b"{" * 50_000, b"[" * 300 + b"]" * 300, b'{"nodes":{}}',
                                  b"\xff\xfe{",
                                  b"1" * 5000, b'{"prompt": 5}', b"<svg>", b"ID3", b"ID3\4" + bytes(60), b"OggS" + bytes(60),
                                  b"RIFF\0\0\0\0WEBP", b"fLaC", b"glTF" + bytes(60)])  # fmt: skip
def test_what_holds_no_graph_is_said_in_a_sentence(data: bytes) -> None:
    with pytest.raises(BadFile) as caught:
        read_bytes(data, "x.bin")
    assert "x.bin" in caught.value.message


def test_a_graph_that_is_broken_inside_a_sound_picture_is_named() -> None:
    with pytest.raises(BadFile, match="not JSON"):
        read_bytes(png(chunk(b"tEXt", b"prompt\0{broken")))
    with pytest.raises(BadFile, match="parameters as text"):
        read_bytes(png(chunk(b"tEXt", b"parameters\0a cat, Steps: 20")))


def test_damage_anywhere_is_a_sentence_and_never_a_crash() -> None:
    webp = io.BytesIO()
    Image.new("RGB", (4, 4)).save(webp, "WEBP", exif=exif_of(TEXTS))
    names, values = box(b"keys", bytes(4), struct.pack(">I", 9)), box(b"ilst", box(b"\0\0\0\1", b"x"))
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(24)), names, values)
    tag = element(0x1254C367, element(0x7373, element(0x67C8, element(0x45A3, b"prompt"))))
    samples = [
        png(chunk(b"tEXt", b"prompt\0" + TEXTS["prompt"].encode()), chunk(b"zTXt", b"workflow\0\0" + zlib.compress(b"{}"))),
        webp.getvalue(),
        b"fLaC\x84" + len(vorbis()).to_bytes(3, "big") + vorbis(),
        box(b"ftyp", b"isom") + box(b"moov", box(b"udta", meta)),
        element(0x1A45DFA3, b"\0") + element(0x18538067, tag),
        struct.pack("<Q", 40) + b'{"__metadata__": {"prompt": "{}"}}      ',
        id3(3, 1),
        id3(4, 3),
        page(b"head") + page(b"OpusTags" + vorbis()),
    ]
    chance = random.Random(1)
    for sample in samples:
        for _ in range(400):
            data = bytearray(sample)
            for _ in range(chance.randrange(1, 6)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            cut = bytes(data[: chance.randrange(len(data))] if chance.random() < 0.4 else data)
            with contextlib.suppress(BadFile):
                read_bytes(cut)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nowhere"):
        read(tmp_path / "nowhere.png")

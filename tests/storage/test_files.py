from __future__ import annotations

import errno
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import Image

from backend.base.errors import BadFile, BadInput, MissingFile, Problem, Refused
from backend.storage import images
from backend.storage.files import NoSpace, atomic, write_bytes
from backend.storage.lock import DirectoryLock
from backend.storage.metadata import safetensors_metadata
from backend.storage.userdata import AlreadyThere, UserFiles


def test_failure_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def fail_halfway() -> None:
        with atomic(path) as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_full_disk_is_named_and_destroys_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoSpace, match=r"a\.json"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_unwritable_place_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadFile, match="cannot be written"):
        write_bytes(tmp_path / "file" / "a", b"x")


def test_png_texts_are_text_chunks(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    images.write_png(path, Image.new("RGB", (4, 3), "red"), {"prompt": '{"1":"\\u00e9"}', "workflow": "{}"})
    data = path.read_bytes()
    assert data.count(b"tEXt") == 2
    assert images.read_texts(path) == {"prompt": '{"1":"\\u00e9"}', "workflow": "{}"}


def test_webp_exif_has_the_published_tags(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    images.write_webp(path, frames, {"prompt": "{}", "workflow": '{"a":1}', "other": "2"}, duration_ms=40)
    with Image.open(path) as image:
        exif = image.getexif()
        assert getattr(image, "n_frames", 1) == 2
    assert (exif[0x0110], exif[0x010F], exif[0x010E]) == ("prompt:{}", 'workflow:{"a":1}', "other:2")
    assert images.read_texts(path) == {"prompt": "{}", "workflow": '{"a":1}', "other": "2"}


def bomb(width: int, height: int) -> bytes:
    """A 1-bit PNG of zeros: a few kB that would decode to width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0" * ((width + 7) // 8 + 1) * height, 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [13000, 60000])
def test_huge_picture_is_refused_from_its_header(tmp_path: Path, size: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(bomb(size, 13000))
    with pytest.raises(images.TooLarge, match=r"bomb\.png"):
        images.reencode(path, "webp", 75)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(BadFile, match=r"a\.png"):
        images.reencode(path, "webp", 75)


def test_cut_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    images.write_png(path, Image.effect_noise((64, 64), 50))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(BadFile, match="damaged"):
        images.reencode(path, "jpeg", 75)


def test_channels(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    images.write_png(path, Image.new("RGBA", (2, 2), (10, 20, 30, 40)))
    with Image.open(io.BytesIO(images.channels(path, "rgb"))) as colours:
        assert (colours.mode, colours.getpixel((0, 0))) == ("RGB", (10, 20, 30))
    with Image.open(io.BytesIO(images.channels(path, "a"))) as alpha:
        assert (alpha.mode, alpha.getpixel((0, 0))) == ("RGBA", (0, 0, 0, 40))


def test_type_comes_from_the_content(tmp_path: Path) -> None:
    for name, content in (("a.html", b"<html>"), ("a.svg", b"<svg/>"), ("fake.png", b"<html>")):
        (tmp_path / name).write_bytes(content)
        assert images.sniff(tmp_path / name) is None
    images.write_png(tmp_path / "really.html", Image.new("L", (1, 1)))
    assert images.sniff(tmp_path / "really.html") == "image/png"


def test_userdata_stays_inside(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    files = UserFiles(tmp_path / "user")
    (tmp_path / "user").mkdir()
    (tmp_path / "user" / "link").symlink_to(secret)
    for name in ("../secret", "a/../../secret", str(secret), "link"):
        with pytest.raises(Refused):
            files.find(name)
        with pytest.raises(Refused):
            files.write(name, b"", True)
    for name in ("", "/", "a\0b", "x" * 300):
        with pytest.raises(Problem):
            files.write(name, b"", True)
    assert secret.read_text() == "x"


def test_userdata_files(tmp_path: Path) -> None:
    files = UserFiles(tmp_path)
    assert files.write("workflows/a.json", b"{}", False).path == "workflows/a.json"
    with pytest.raises(AlreadyThere):
        files.write("workflows/a.json", b"1", False)
    files.write("workflows/sub/b.json", b"22", True)
    assert [i.path for i in files.listing("workflows", False)] == ["a.json"]
    assert [(i.path, i.size) for i in files.listing("workflows", True)] == [("a.json", 2), ("sub/b.json", 2)]
    assert [e["path"] for e in files.tree("")] == ["workflows", "workflows/sub", "workflows/a.json", "workflows/sub/b.json"]
    assert files.move("workflows/a.json", "workflows/c.json", False).path == "workflows/c.json"
    with pytest.raises(AlreadyThere):
        files.move("workflows/c.json", "workflows/sub/b.json", False)
    files.delete("workflows/c.json")
    with pytest.raises(MissingFile):
        files.delete("workflows/c.json")
    with pytest.raises(BadInput):
        files.write("workflows", b"", True)


def test_second_server_is_refused_by_name(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path)
    code = f"from pathlib import Path; from backend.storage.lock import DirectoryLock; DirectoryLock(Path({str(tmp_path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30)
    assert "Refused" in second.stderr
    assert f"process {os.getpid()}" in second.stderr
    lock.release()
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30).returncode == 0


def test_safetensors_metadata(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    assert safetensors_metadata(path) == {"format": "pt"}
    for broken in (b"", b"\xff" * 7 + b"\x7f{}", struct.pack("<Q", 2**40) + b"{}", struct.pack("<Q", 5) + b"abcde"):
        path.write_bytes(broken)
        with pytest.raises(BadFile):
            safetensors_metadata(path)

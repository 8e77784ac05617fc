from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from backend.base.errors import BadFile, BadInput
from backend.imaging.picture import read_channel, read_picture, to_pictures
from backend.storage.images import TooLarge


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def test_colours_and_no_alpha(tmp_path: Path) -> None:
    data = pixels(5, 7, 3)
    Image.fromarray(data).save(tmp_path / "a.png")
    image, mask = read_picture(tmp_path / "a.png")
    assert torch.equal(image, torch.from_numpy(data).float()[None] / 255)
    assert mask.shape == (1, 64, 64) and not mask.any()


def test_mask_is_one_minus_alpha(tmp_path: Path) -> None:
    data = pixels(5, 7, 4)
    Image.fromarray(data).save(tmp_path / "a.png")
    image, mask = read_picture(tmp_path / "a.png")
    assert torch.equal(mask, 1 - torch.from_numpy(data[..., 3]).float()[None] / 255)
    assert torch.equal(read_channel(tmp_path / "a.png", "alpha"), mask)
    assert torch.equal(read_channel(tmp_path / "a.png", "green"), image[..., 1])


def test_palette_with_transparency(tmp_path: Path) -> None:
    picture = Image.new("P", (4, 4), 0)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 2), 1)
    picture.save(tmp_path / "p.png", transparency=0)
    image, mask = read_picture(tmp_path / "p.png")
    assert mask[0, 2, 1] == 0 and mask.sum() == 15
    assert image[0, 2, 1].tolist() == [0, 0, 1]


def test_exif_orientation(tmp_path: Path) -> None:
    data = pixels(4, 6, 3)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to show
    Image.fromarray(data).save(tmp_path / "t.png", exif=exif)
    image, _ = read_picture(tmp_path / "t.png")
    assert torch.equal(image[0], torch.from_numpy(np.rot90(data, -1).copy()).float() / 255)


def test_sixteen_bit_grey_keeps_its_precision(tmp_path: Path) -> None:
    data = np.arange(0, 65536, 65536 // 48, dtype=np.uint16)[:48].reshape(6, 8)
    Image.fromarray(data).save(tmp_path / "d.png")
    image, _ = read_picture(tmp_path / "d.png")
    assert torch.allclose(image[0, ..., 0], torch.from_numpy(data.astype(np.float32)) / 65535, atol=1e-7)
    assert torch.equal(image[..., 0], image[..., 2])


def test_animation_becomes_a_batch(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels(6, 5, 3, seed=i)) for i in range(3)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:], lossless=True)
    image, mask = read_picture(tmp_path / "a.webp")
    assert image.shape == (3, 6, 5, 3) and mask.shape == (1, 64, 64)
    for one, frame in zip(image, frames, strict=True):
        assert torch.equal(one, torch.from_numpy(np.array(frame)).float() / 255)


def huge_png(path: Path, width: int, height: int) -> None:
    """A PNG that claims a size and has hardly any data."""
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = b"IHDR" + head
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + body + struct.pack(">I", zlib.crc32(body)))
        file.write(struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))


@pytest.mark.parametrize("size", [(40000, 40000), (100000, 20000)])
def test_too_many_pixels_are_refused_from_the_header(tmp_path: Path, size: tuple[int, int]) -> None:
    huge_png(tmp_path / "h.png", *size)
    with pytest.raises(TooLarge):
        read_picture(tmp_path / "h.png")


def test_too_many_frames_together(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels(8, 8, 3, seed=i)) for i in range(6)]
    frames[0].save(tmp_path / "a.webp", save_all=True, append_images=frames[1:])
    with pytest.raises(TooLarge, match="6 frames"):
        read_picture(tmp_path / "a.webp", most_pixels=70)


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n"])
def test_no_picture(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(BadFile):
        read_picture(tmp_path / "x.png")


def test_truncated_picture(tmp_path: Path) -> None:
    Image.fromarray(pixels(64, 64, 3)).save(tmp_path / "t.png")
    (tmp_path / "t.png").write_bytes((tmp_path / "t.png").read_bytes()[:3000])
    with pytest.raises(BadFile, match="damaged"):
        read_picture(tmp_path / "t.png")


def test_to_pictures_rounds_and_survives_strange_values() -> None:
    values = torch.tensor([[0.5, 1.7, -0.2, float("nan"), 100.4 / 255, float("inf")]]).reshape(1, 2, 3, 1)
    assert np.asarray(to_pictures(values)[0]).flatten().tolist() == [128, 255, 0, 0, 100, 255]


@pytest.mark.parametrize("shape", [(1, 4, 4, 2), (1, 4, 4, 5), (4, 4, 3)])
def test_no_picture_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="cannot be made a picture"):
        to_pictures(torch.zeros(shape))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_every_8_bit_value_survives_the_round_trip(tmp_path: Path, channels: int, mode: str) -> None:
    data = np.resize(np.arange(256, dtype=np.uint8), (16, 16, channels))
    picture = to_pictures(torch.from_numpy(data).float()[None] / 255)[0]
    assert picture.mode == mode
    assert np.array_equal(np.asarray(picture).reshape(data.shape), data)

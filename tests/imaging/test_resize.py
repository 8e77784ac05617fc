from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from backend.imaging import batch
from backend.imaging.resize import IMAGE_METHODS, centre_crop, fit_within, resize, resize_image
from backend.imaging.slerp import bislerp, slerp


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "area", "bicubic"])
def test_plain_methods_are_the_frameworks(method: str) -> None:
    planes = noise(2, 3, 9, 14)
    assert torch.equal(resize(planes, 7, 20, method), F.interpolate(planes, size=(20, 7), mode=method))


@pytest.mark.parametrize("size", [(31, 12), (5, 40), (64, 64)])
def test_lanczos_agrees_with_eight_bit_pillow(size: tuple[int, int]) -> None:
    pixels = (noise(24, 20, 3) * 100 + 70).byte()  # no overshoot beyond 0..255, which theirs cuts off between its two passes
    expected = np.asarray(Image.fromarray(pixels.numpy()).resize(size, Image.Resampling.LANCZOS)).astype(np.float32) / 255
    ours = resize_image(pixels.float().unsqueeze(0) / 255, *size, "lanczos")[0].numpy()
    assert np.abs(ours - expected).max() <= 1.5 / 255  # theirs rounds twice to 8 bits


def test_lanczos_stays_in_range_and_keeps_constants() -> None:
    step = torch.zeros(1, 1, 16, 16)
    step[..., 8:] = 1
    out = resize(step, 40, 40, "lanczos")
    assert out.min() >= 0 and out.max() <= 1
    assert torch.allclose(resize(torch.full((1, 1, 8, 8), 0.3), 5, 19, "lanczos"), torch.tensor(0.3), atol=1e-6)


@pytest.mark.parametrize("method", [*IMAGE_METHODS, "bislerp"])
def test_same_size_changes_nothing(method: str) -> None:
    planes = noise(1, 4, 6, 9)
    assert torch.allclose(resize(planes, 9, 6, method), planes, atol=1e-6)


def test_video_is_resized_frame_by_frame() -> None:
    video = noise(2, 3, 5, 8, 6)
    out = resize(video, 12, 16, "bilinear")
    for t in range(5):
        assert torch.equal(out[:, :, t], resize(video[:, :, t], 12, 16, "bilinear"))


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 60), st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_centre_crop_has_the_wanted_aspect_and_is_centred(width: int, height: int, new_width: int, new_height: int) -> None:
    planes = torch.arange(width * height, dtype=torch.float32).reshape(1, 1, height, width)
    cut = centre_crop(planes, new_width / new_height)
    h, w = cut.shape[-2:]
    assert (h, w) == (height, w) or (h, w) == (h, width)  # one side is whole
    wanted = min(width, height * new_width / new_height), min(height, width * new_height / new_width)
    assert abs(w - wanted[0]) <= 1 and abs(h - wanted[1]) <= 1
    if h and w:
        top, left = divmod(int(cut[0, 0, 0, 0]), width)
        assert (top, left) == ((height - h) // 2, (width - w) // 2)


def test_crop_before_resize() -> None:
    planes = noise(1, 3, 10, 30)
    assert torch.equal(resize(planes, 8, 8, "bilinear", "center"), F.interpolate(planes[..., 10:20], size=(8, 8), mode="bilinear"))


@pytest.mark.parametrize(("method", "crop", "width"), [("cubic", "disabled", 4), ("area", "middle", 4), ("area", "disabled", 0)])
def test_bad_arguments(method: str, crop: str, width: int) -> None:
    with pytest.raises(ValueError):
        resize(noise(1, 1, 4, 4), width, 4, method, crop)


@pytest.mark.parametrize(("size", "largest", "expected"), [((100, 50), 20, (20, 10)), ((50, 100), 20, (10, 20)), ((7, 7), 3, (3, 3))])
def test_fit_within(size: tuple[int, int], largest: int, expected: tuple[int, int]) -> None:
    assert fit_within(*size, largest) == expected


def test_slerp_turns_and_blends_lengths() -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    third = slerp(a, b, torch.tensor(1 / 3))
    assert torch.allclose(third, torch.tensor([[math.cos(math.pi / 6), math.sin(math.pi / 6)]]) * (2 * 2 / 3 + 4 / 3), atol=1e-6)


@pytest.mark.parametrize("other", [[0.0, 0.0], [-3.0, 0.0], [5.0, 0.0]])
def test_slerp_of_parallel_or_zero_vectors_is_linear(other: list[float]) -> None:
    a, b = torch.tensor([[2.0, 0.0]]), torch.tensor([other])
    assert torch.allclose(slerp(a, b, torch.tensor(0.25)), a * 0.75 + b * 0.25)


def test_bislerp_keeps_the_length_of_noise_where_bilinear_shrinks_it() -> None:
    planes = torch.randn(1, 16, 32, 32, generator=torch.Generator().manual_seed(1))
    length = planes.norm(dim=1).mean()
    assert abs(bislerp(planes, 61, 61).norm(dim=1).mean() / length - 1) < 0.01
    assert F.interpolate(planes, size=(61, 61), mode="bilinear").norm(dim=1).mean() / length < 0.9


def test_bislerp_pixel_by_pixel() -> None:
    """Against a loop that visits every output position."""
    planes = torch.randn(1, 3, 3, 4, generator=torch.Generator().manual_seed(2))

    def between(line: list[torch.Tensor], index: int, size: int) -> torch.Tensor:
        position = min(max((index + 0.5) * len(line) / size - 0.5, 0), len(line) - 1)
        low = int(position)
        a, b, t = line[low], line[min(low + 1, len(line) - 1)], position - low
        cosine = float(torch.dot(a, b) / (a.norm() * b.norm()))
        if abs(cosine) > 1 - 1e-5:
            return a * (1 - t) + b * t
        angle = math.acos(cosine)
        turned = (math.sin((1 - t) * angle) * a / a.norm() + math.sin(t * angle) * b / b.norm()) / math.sin(angle)
        return turned * (a.norm() * (1 - t) + b.norm() * t)

    rows = [[between([planes[0, :, y, x] for x in range(4)], i, 7) for i in range(7)] for y in range(3)]
    expected = torch.stack([torch.stack([between([rows[y][x] for y in range(3)], j, 5) for x in range(7)], 1) for j in range(5)], 1)
    assert torch.allclose(bislerp(planes, 7, 5)[0], expected, atol=1e-5)


def test_repeat_to_batch() -> None:
    values = torch.tensor([[1.0], [2.0]])
    assert batch.repeat_to_batch(values, 5).flatten().tolist() == [1, 2, 1, 2, 1]
    assert batch.repeat_to_batch(values, 1).flatten().tolist() == [1]
    with pytest.raises(ValueError, match="empty"):
        batch.repeat_to_batch(values[:0], 2)


def test_concat_images_gives_the_second_the_size_of_the_first_and_opaque_alpha() -> None:
    out = batch.concat_images(noise(1, 4, 4, 4), noise(2, 8, 8, 3))
    assert out.shape == (3, 4, 4, 4)
    assert torch.equal(out[1:, ..., 3], torch.ones(2, 4, 4))

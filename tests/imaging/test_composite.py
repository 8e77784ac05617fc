from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.imaging import composite, inpaint, latents


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_composite_by_loops(x: int, y: int, width: int, height: int) -> None:
    under, over, mask = noise(1, 2, 7, 9), noise(1, 2, height, width, seed=1), noise(1, height, width, seed=2)
    expected = under.clone()
    for row in range(height):
        for column in range(width):
            if y + row < 7 and x + column < 9:
                m = mask[0, row, column]
                expected[0, :, y + row, x + column] = over[0, :, row, column] * m + under[0, :, y + row, x + column] * (1 - m)
    assert torch.allclose(composite.composite(under, over, x, y, mask), expected)


def test_composite_with_negative_position_scale_batch_and_mask_size() -> None:
    under, over = noise(3, 4, 8, 8), noise(1, 4, 4, 4, seed=1)
    out = composite.composite(under, over, -16, 8, torch.ones(1, 32, 32), scale=8)
    assert torch.equal(out[:, :, 1:5, :2], over[..., 2:].expand(3, -1, -1, -1))
    assert torch.equal(out[:, :, 5:], under[:, :, 5:]) and torch.equal(out[..., 2:], under[..., 2:])


def test_composite_resizes_the_source_and_leaves_inputs_alone() -> None:
    under, over = noise(1, 3, 6, 6), noise(1, 3, 3, 3, seed=1)
    before = under.clone()
    out = composite.composite(under, over, 0, 0, resize_source=True)
    assert torch.equal(out, F.interpolate(over, size=(6, 6), mode="bilinear"))
    assert torch.equal(under, before)


def test_video_latents_are_composited_frame_by_frame() -> None:
    under, over, mask = noise(1, 2, 3, 6, 6), noise(1, 2, 3, 4, 4, seed=1), noise(1, 4, 4, seed=2)
    out = composite.composite(under, over, 8, 8, mask, scale=8)
    for t in range(3):
        assert torch.equal(out[:, :, t], composite.composite(under[:, :, t], over[:, :, t], 8, 8, mask, scale=8))


def test_image_channels_are_matched_to_the_destination() -> None:
    out = composite.composite_image(noise(1, 4, 4, 4), noise(1, 2, 2, 3, seed=1), 1, 1)
    assert torch.equal(out[0, 1:3, 1:3, 3], torch.ones(2, 2))
    assert composite.composite_image(noise(1, 4, 4, 3), noise(1, 2, 2, 4), 0, 0).shape == (1, 4, 4, 3)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (2, 3), (5, 0), (9, 2)])
def test_feathered_paste_by_loops(x: int, y: int) -> None:
    under, over, feather = noise(1, 2, 10, 12), noise(1, 2, 6, 7, seed=1), 3
    expected = under.clone()
    h, w = min(6, 10 - y), min(7, 12 - x)
    for row in range(h):
        for column in range(w):
            amount = 1.0
            if y > 0 and row < feather:
                amount *= (row + 1) / feather
            if y + h < 10 and h - 1 - row < feather:
                amount *= (h - row) / feather
            if x > 0 and column < feather:
                amount *= (column + 1) / feather
            if x + w < 12 and w - 1 - column < feather:
                amount *= (w - column) / feather
            a, b = over[0, :, row, column], under[0, :, y + row, x + column]
            expected[0, :, y + row, x + column] = a * amount + b * (1 - amount)
    assert torch.allclose(composite.paste_feathered(under, over, x, y, feather), expected)


def test_paste_outside_and_with_a_feather_longer_than_the_patch() -> None:
    under = noise(1, 2, 5, 5)
    assert torch.equal(composite.paste_feathered(under, noise(1, 2, 3, 3), 7, 0, 0), under)
    out = composite.paste_feathered(torch.zeros(1, 1, 5, 9), torch.ones(1, 1, 5, 2), 3, 0, 4)
    assert torch.allclose(out[0, 0, 0, 3:5], torch.tensor([1 / 4 * 2 / 4, 2 / 4 * 1 / 4]))


def test_pad_for_outpaint_by_loops() -> None:
    image = noise(2, 12, 14, 3)
    canvas, mask = composite.pad_for_outpaint(image, 4, 0, 3, 5, 5)
    assert canvas.shape == (2, 17, 21, 3) and mask.shape == (1, 17, 21)
    assert torch.equal(canvas[:, :12, 4:18], image)
    for y in range(17):
        for x in range(21):
            inside = y < 12 and 4 <= x < 18
            if not inside:
                assert mask[0, y, x] == 1 and canvas[0, y, x].tolist() == [0.5] * 3
                continue
            distance = min(12 - y, x - 4, 14 - (x - 4))
            expected = ((5 - distance) / 5) ** 2 if distance < 5 else 0
            assert abs(float(mask[0, y, x]) - expected) < 1e-6


def test_inpaint_preparation() -> None:
    pixels, mask = noise(1, 19, 21, 3), torch.zeros(1, 19, 21)
    mask[0, 5:9, 6:10] = 1
    cut, planes = inpaint.cropped(pixels, mask, 8)
    assert torch.equal(cut, pixels[:, 1:17, 2:18]) and torch.equal(planes[:, 0], mask[:, 1:17, 2:18])
    grey = inpaint.greyed(cut, planes)
    assert torch.equal(grey[0, 4:8, 4:8], torch.full((4, 4, 3), 0.5))
    assert torch.allclose(grey[0, :4], cut[0, :4])
    grown = inpaint.grown(planes, 6)
    counted = F.conv2d(planes.round(), torch.ones(1, 1, 6, 6), padding=3).clamp(0, 1)[..., :16, :16]  # what growing means: any hit in 6 x 6
    assert torch.equal(grown, counted)
    assert torch.equal(inpaint.grown(planes, 0), planes)


def test_latent_batches() -> None:
    latent = {"samples": torch.arange(3.0).reshape(3, 1, 1, 1), "noise_mask": torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), "other": "kept"}
    taken = latents.take(latent, 1, 9)
    assert taken["samples"].flatten().tolist() == [1, 2] and taken["batch_index"] == [1, 2] and taken["other"] == "kept"
    assert taken["noise_mask"].flatten().tolist() == [1, 0]
    again = latents.repeated({**taken, "batch_index": [1, 2]}, 3)
    assert again["samples"].flatten().tolist() == [1, 2] * 3
    assert again["batch_index"] == [1, 2, 3, 4, 5, 6]
    assert "batch_index" not in latents.repeated(latent, 2) and "batch_index" not in latent


@pytest.mark.parametrize(
    ("index", "amount", "expected"), [(0, 2, [0, 1]), (4, 9, [4]), (9, 1, [4]), (-2, 1, [3]), (-2, 9, [3, 4]), (-9, 2, [0, 1])]
)
def test_cut(index: int, amount: int, expected: list[int]) -> None:
    assert latents.cut(torch.arange(5).reshape(1, 1, 1, 5), -1, index, amount).flatten().tolist() == expected


def test_interpolating_directions() -> None:
    a, b = torch.tensor([[3.0], [0.0]]).reshape(1, 2, 1, 1), torch.tensor([[0.0], [1.0]]).reshape(1, 2, 1, 1)
    out = latents.interpolate_directions(a, b, 0.5).flatten()
    assert torch.allclose(out, torch.tensor([2.0, 2.0]) / 2**0.5)
    assert torch.equal(latents.interpolate_directions(a * 0, b * 0, 0.5), a * 0)
    assert torch.allclose(latents.interpolate_directions(a, b, 1.0), a)

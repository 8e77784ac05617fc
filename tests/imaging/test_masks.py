from __future__ import annotations

import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.imaging import masks

CROSS = [[0, 1, 0], [1, 1, 1], [0, 1, 0]]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("tapered", [True, False])
@pytest.mark.parametrize("radius", [-11, -3, -1, 0, 1, 4, 19])
def test_grow_against_scipy(radius: int, tapered: bool) -> None:
    mask = (noise(2, 23, 31) * (noise(2, 23, 31, seed=1) > 0.9)).contiguous()
    footprint = CROSS if tapered else [[1] * 3] * 3
    step = scipy.ndimage.grey_erosion if radius < 0 else scipy.ndimage.grey_dilation
    for ours, one in zip(masks.grow(mask, radius, tapered), mask.numpy(), strict=True):
        for _ in range(abs(radius)):
            one = step(one, footprint=footprint)
        assert torch.equal(ours, torch.from_numpy(one))


def test_grow_by_more_than_the_picture_stops() -> None:
    mask = torch.zeros(1, 5, 6)
    mask[0, 0, 0] = 1
    assert torch.equal(masks.grow(mask, 16384), torch.ones(1, 5, 6))


def test_feather_by_loops() -> None:
    mask = noise(1, 9, 12)
    left, top, right, bottom = 3, 4, 20, 0
    expected = mask.clone()
    for y in range(9):
        for x in range(12):
            if x < 3:
                expected[0, y, x] *= (x + 1) / left
            if y < 4:
                expected[0, y, x] *= (y + 1) / top
            if 11 - x < 12:
                expected[0, y, x] *= (11 - x + 1) / 12  # cut to the width
    assert torch.allclose(masks.feather(mask, left, top, right, bottom), expected)


@pytest.mark.parametrize("operation", masks.OPERATIONS)
def test_combine_by_loops(operation: str) -> None:
    under, part, x, y = noise(1, 6, 7), noise(1, 5, 4, seed=3), 5, 3
    expected = under.clone()
    for row in range(5):
        for column in range(4):
            if y + row < 6 and x + column < 7:
                a, b = float(under[0, y + row, x + column]), float(part[0, row, column])
                p, q = round(a) == 1, round(b) == 1
                value = {"multiply": a * b, "add": a + b, "subtract": a - b, "and": p and q, "or": p or q, "xor": p != q}[operation]
                expected[0, y + row, x + column] = min(max(float(value), 0), 1)
    assert torch.allclose(masks.combine(under, part, x, y, operation), expected)


def test_combine_outside_and_with_batches() -> None:
    mask = noise(1, 4, 4)
    assert torch.equal(masks.combine(mask, torch.ones(1, 2, 2), 9, 0, "add"), mask)
    out = masks.combine(mask, torch.stack([torch.ones(4, 4), torch.zeros(4, 4)]), 0, 0, "multiply")
    assert torch.equal(out, torch.stack([mask[0], torch.zeros(4, 4)]))
    with pytest.raises(ValueError, match="pair up"):
        masks.combine(noise(2, 4, 4), noise(3, 4, 4), 0, 0, "add")
    with pytest.raises(ValueError, match="unknown"):
        masks.combine(mask, mask, 0, 0, "nand")


def test_inputs_are_not_changed() -> None:
    mask = noise(1, 6, 6)
    before = mask.clone()
    masks.combine(mask, torch.ones(1, 3, 3), 1, 1, "subtract")
    masks.feather(mask, 2, 2, 2, 2)
    masks.grow(mask, 2)
    assert torch.equal(mask, before)


def test_colour_mask() -> None:
    image = torch.tensor([[[[1.0, 0.5, 0.0], [1.0, 0.498, 0.0], [0.9, 0.5, 0.0]]]])
    assert masks.colour_mask(image, 0xFF8000).tolist() == [[[1.0, 0.0, 0.0]]]  # 0.5 is 128 in 8 bits, 0.498 is 127


@given(st.integers(0, 8), st.integers(0, 6), st.integers(1, 5), st.integers(1, 4))
@settings(max_examples=30, deadline=None)
def test_bounds(x: int, y: int, width: int, height: int) -> None:
    mask = torch.zeros(2, 12, 15)
    mask[1, y : y + height, x : x + width] = 0.1
    assert masks.bounds(mask) == (x, y, width, height)


def test_bounds_of_nothing() -> None:
    assert masks.bounds(torch.zeros(1, 3, 3)) is None


@pytest.mark.parametrize("size", [3, 4, 7, 21])
@pytest.mark.parametrize("operation", ["erode", "dilate", "open", "close", "gradient", "top_hat", "bottom_hat"])
def test_morphology_against_scipy(operation: str, size: int) -> None:
    plane = noise(18, 26)

    def dilate(a):  # type: ignore[no-untyped-def]  # scipy's origin of an even square differs by one from ours
        return scipy.ndimage.maximum_filter(a, size, mode="constant", cval=-9)

    def erode(a):  # type: ignore[no-untyped-def]
        return scipy.ndimage.minimum_filter(a, size, mode="constant", cval=9)

    a = plane.numpy()
    expected = {
        "erode": lambda: erode(a), "dilate": lambda: dilate(a), "open": lambda: dilate(erode(a)), "close": lambda: erode(dilate(a)),
        "gradient": lambda: dilate(a) - erode(a), "top_hat": lambda: a - dilate(erode(a)), "bottom_hat": lambda: erode(dilate(a)) - a,
    }[operation]()  # fmt: skip
    assert torch.allclose(masks.morph(plane[None, None], operation, size)[0, 0], torch.from_numpy(expected))

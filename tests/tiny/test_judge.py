"""The judge must be right about drawn pictures before it may judge generated ones."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tests.tiny.judge import judge, median
from tools.train_tiny.draw import draw, imagine


def worn(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A little blurred and noisy, as after the autoencoder."""
    soft = ndimage.gaussian_filter(pixels.astype(np.float32), (rng.uniform(0, 1.0),) * 2 + (0,))
    return np.clip(soft + rng.normal(0, rng.uniform(0, 5), soft.shape), 0, 255).astype(np.uint8)


def test_median_is_that_of_scipy() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    assert np.array_equal(median(pixels), ndimage.median_filter(pixels, (3, 3, 1)))


def test_judge_is_right_about_drawn_things() -> None:
    rng = np.random.default_rng(7)
    count = 2000
    right = {"colour": 0, "shape": 0, "place": 0, "size": 0}
    for _ in range(count):
        picture = imagine(rng, pairs=0)
        thing = picture.things[0]
        seen = judge(worn(draw(picture), rng))
        for name in right:
            right[name] += bool(seen) and getattr(seen[0], name) == getattr(thing, name)
    for name, hits in right.items():
        assert hits >= 0.99 * count, f"{name}: {hits} of {count}"


def test_judge_sees_both_of_two_things() -> None:
    rng = np.random.default_rng(8)
    count, right = 300, 0
    for _ in range(count):
        picture = imagine(rng, pairs=1)
        seen = judge(worn(draw(picture), rng))
        right += sorted((s.colour, s.shape) for s in seen) == sorted((t.colour, t.shape) for t in picture.things)
    assert right >= 0.98 * count, f"{right} of {count}"


def test_judge_sees_nothing_on_an_empty_background() -> None:
    for value in (0, 128, 250):
        assert judge(np.full((128, 128, 3), value, dtype=np.uint8)) == []


def test_judge_knows_a_blob_is_no_shape() -> None:
    pixels = np.full((128, 128, 3), 250, dtype=np.uint8)
    pixels[60:66, 20:110] = (222, 38, 42)
    assert [s.shape for s in judge(pixels)] == [""]

"""Tiles cover everything, and blending a local operation changes nothing."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from backend.codecs.tiling import even, feather, starts, tiled


@given(st.integers(1, 200), st.integers(1, 64), st.integers(0, 63))
def test_tiles_cover_and_overlap(size: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    begins = starts(size, tile, overlap)
    assert begins[0] == 0
    assert begins[-1] + min(tile, size) == size
    for a, b in itertools.pairwise(begins):
        assert a < b <= a + tile - overlap


@given(st.integers(1, 40), st.integers(0, 50), st.booleans(), st.booleans())
def test_weights_are_positive(size: int, overlap: int, before: bool, after: bool) -> None:
    weights = feather(size, overlap, before, after)
    assert weights.shape == (size,)
    assert bool((weights > 0).all()) and bool((weights <= 1).all())


@given(st.integers(1, 33), st.integers(1, 29), st.integers(1, 12), st.integers(0, 11), st.sampled_from([1, 2, 8]))
@settings(max_examples=40, deadline=None)
def test_a_pointwise_operation_is_exact(height: int, width: int, tile: int, overlap: int, scale: int) -> None:
    x = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))

    def run(top: int, left: int, h: int, w: int) -> Tensor:
        part = x[:, :, top : top + h, left : left + w] * 2
        return part.repeat_interleave(scale, 2).repeat_interleave(scale, 3)

    seen: list[tuple[int, int]] = []
    out = tiled(run, height, width, tile, overlap, scale, lambda done, total: seen.append((done, total)))
    expected = (x * 2).repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    assert torch.allclose(out, expected, atol=1e-6)
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))


@given(st.integers(1, 300), st.integers(1, 80), st.integers(0, 40))
def test_tiles_share_the_work_evenly(size: int, tile: int, overlap: int) -> None:
    overlap = min(overlap, tile - 1)
    smaller = even(size, tile, overlap)
    assert 1 <= smaller <= min(tile, size)
    assert len(starts(size, smaller, overlap)) == len(starts(size, tile, overlap))
    count = len(starts(size, tile, overlap))
    assert count * smaller < size + (count - 1) * overlap + count

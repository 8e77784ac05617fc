"""Outlines and structure: on pictures whose answer is known."""

from __future__ import annotations

import torch

from backend.imaging import edges


def square(size: int = 40) -> torch.Tensor:
    images = torch.zeros(2, size, size, 3)
    images[0, 10:30, 12:28] = 1
    return images


def test_canny_draws_a_thin_outline() -> None:
    found = edges.canny(square(), 0.4, 0.8)
    assert found.shape == (2, 1, 40, 40) and set(found.unique().tolist()) == {0.0, 1.0}
    assert not found[1].any()
    rows, columns = found[0, 0].nonzero().T
    assert 9 <= rows.min() <= 10 and 29 <= rows.max() <= 30 and 11 <= columns.min() <= 12 and 27 <= columns.max() <= 28
    assert found[0, 0, 20].sum() <= 4 and not found[0, 0, 15:25, 16:24].any()


def test_canny_follows_weak_edges_from_strong_ones() -> None:
    images = torch.zeros(1, 30, 60, 3)
    images[0, 15:, :] = torch.linspace(1, 0.2, 60)[None, :, None]  # a horizontal edge that fades
    strong, both = edges.canny(images, 2.5, 2.5), edges.canny(images, 0.8, 2.5)
    assert 0 < strong.sum() < both.sum()
    apart = images.clone()
    apart[:, :, 20:40] = 0.5
    assert edges.canny(apart, 0.8, 2.5)[0, 0, :, 45:].sum() <= both[0, 0, :, 45:].sum()


def test_lines_are_dark_on_paper() -> None:
    drawn = edges.xdog(square())
    assert drawn[1].std() < 1e-3
    flat = torch.full((1, 20, 20, 3), 0.5)
    assert edges.xdog(flat).std() < 1e-3
    assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1 and drawn[0].std() > 0.05


def test_coarse_and_soft() -> None:
    images = torch.rand(1, 32, 48, 3)
    made = edges.coarse(images, 16)
    assert made.shape == images.shape and torch.allclose(made[0, :16, :16].std((0, 1)), torch.zeros(3), atol=1e-6)
    assert torch.allclose(made[0, 0, 0], images[0, :16, :16].mean((0, 1)), atol=1e-5)
    assert edges.softened(images, 4.0).std() < images.std()
    assert torch.equal(edges.coarse(images, 999), edges.coarse(images, 999)) and edges.softened(images, 999.0).shape == images.shape


def test_palette() -> None:
    palette = torch.tensor(list(edges.PALETTE.values())) / 255
    assert len(palette.unique(dim=0)) == len(palette)
    near = (palette[[3, 5]] + 0.01).reshape(1, 1, 2, 3)
    assert torch.allclose(edges.nearest_colours(near, palette), palette[[3, 5]].reshape(1, 1, 2, 3))

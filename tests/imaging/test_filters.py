from __future__ import annotations

import colorsys
import math

import numpy as np
import pytest
import scipy.ndimage
import torch

from backend.imaging import blend, filters


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_kernel_is_a_normalised_gaussian() -> None:
    kernel = filters.gaussian_kernel(5, 0.7, torch.zeros(1))
    assert abs(float(kernel.sum()) - 1) < 1e-6
    # distance 1 is two cells: the ratio of the middle of a border to the centre
    assert abs(float(kernel[0, 2] / kernel[2, 2]) - math.exp(-1 / (2 * 0.49))) < 1e-6


def test_blur_and_sharpen_against_scipy() -> None:
    plane = noise(1, 1, 20, 24)
    kernel = filters.gaussian_kernel(7, 0.5, plane).numpy()
    blurred = scipy.ndimage.convolve(plane[0, 0].numpy(), kernel, mode="mirror")
    assert np.abs(filters.blur(plane, 3, 0.5)[0, 0].numpy() - blurred).max() < 1e-5
    sharpened = plane[0, 0].numpy() + 10 * 0.2 * (plane[0, 0].numpy() - blurred)
    assert np.abs(filters.sharpen(plane, 3, 0.5, 0.2)[0, 0].numpy() - sharpened).max() < 1e-4


def test_blur_of_a_picture_smaller_than_the_kernel() -> None:
    assert torch.allclose(filters.blur(torch.full((1, 3, 2, 2), 0.4), 9, 1.0), torch.tensor(0.4))


def test_sharpening_directions_leaves_a_latent_of_one_direction_alone() -> None:
    latent = torch.randn(1, 4, 1, 1).expand(1, 4, 12, 12) * (noise(1, 1, 12, 12) + 0.5)
    assert torch.allclose(filters.sharpen_directions(latent, 3, 1.0, 0.5), latent, atol=1e-4)


def test_tonemap_keeps_directions_and_compresses_lengths() -> None:
    latent = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 5
    out = filters.tonemap_reinhard(latent, 0.5)
    length, new = latent.norm(dim=1), out.norm(dim=1)
    assert torch.allclose(out / new.unsqueeze(1), latent / length.unsqueeze(1), atol=1e-5)
    for one, squeezed in zip(length, new, strict=True):
        top = float(one.mean() + 5 * one.std()) * 0.5
        assert torch.allclose(squeezed, one / (1 + one / top), rtol=1e-4)
    assert torch.equal(filters.tonemap_reinhard(latent, 0.0), torch.zeros_like(latent))


@pytest.mark.parametrize("order", [2, 4, 8, 16])
def test_bayer_thresholds_are_a_permutation_and_spread(order: int) -> None:
    tile = filters.bayer(order, order, order)
    assert torch.allclose(tile.flatten().sort().values, (torch.arange(order**2) + 0.5) / order**2)
    assert abs(float(tile[:, : order // 2].mean()) - 0.5) < 0.3 / order + 1e-6
    assert filters.bayer(order, 5, 37).shape == (5, 37)


def test_bayer_of_two() -> None:
    assert (filters.bayer(2, 2, 2) * 4 - 0.5).tolist() == [[0, 2], [3, 1]]


@pytest.mark.parametrize("dither", ["none", "floyd-steinberg", "bayer-2", "bayer-8"])
def test_quantised_colours(dither: str) -> None:
    picture = torch.stack([torch.linspace(0, 1, 64).expand(24, -1)] * 3, dim=-1)
    out = filters.posterise_palette(picture, 4, dither)
    assert len(torch.unique(out.reshape(-1, 3), dim=0)) <= 4
    assert abs(float(out.mean() - picture.mean())) < 0.03

    def error_of_local_means(image: torch.Tensor) -> float:
        means = [scipy.ndimage.uniform_filter(one[..., 0].numpy(), 8)[4:-4, 16:-16] for one in (image, picture)]
        return float(np.abs(means[0] - means[1]).mean())

    if dither != "none":
        assert error_of_local_means(out) < 0.6 * error_of_local_means(filters.posterise_palette(picture, 4, "none"))


def test_yuv_round_trip_and_known_colours() -> None:
    image = noise(1, 5, 6, 3)
    assert torch.allclose(filters.from_yuv(filters.to_yuv(image)), image, atol=1e-5)
    grey, red = filters.to_yuv(torch.tensor([0.3, 0.3, 0.3])), filters.to_yuv(torch.tensor([1.0, 0.0, 0.0]))
    assert torch.allclose(grey, torch.tensor([0.3, 0.5, 0.5]), atol=1e-6)
    assert torch.allclose(red[0], torch.tensor(0.299)) and torch.allclose(red[2], torch.tensor(1.0), atol=1e-6)
    assert abs(float(red[0]) - colorsys.rgb_to_yiq(1, 0, 0)[0]) < 0.002  # the same luma as in another colour system


def one_pixel(under: float, over: float, mode: str) -> float:
    if mode == "soft_light":
        curve = math.sqrt(under) if under > 0.25 else ((16 * under - 12) * under + 4) * under
        return under - (1 - 2 * over) * under * (1 - under) if over <= 0.5 else under + (2 * over - 1) * (curve - under)
    return {
        "normal": over, "multiply": under * over, "screen": under + over - under * over, "difference": under - over,
        "overlay": 2 * under * over if under <= 0.5 else 1 - 2 * (1 - under) * (1 - over),
    }[mode]  # fmt: skip


@pytest.mark.parametrize("mode", blend.MODES)
def test_blend_modes_pixel_by_pixel(mode: str) -> None:
    under, over = noise(40), noise(40, seed=1)
    expected = torch.tensor([one_pixel(float(u), float(o), mode) for u, o in zip(under, over, strict=True)])
    assert torch.allclose(blend.blend(under, over, mode), expected, atol=1e-6)


def test_unknown_modes() -> None:
    with pytest.raises(ValueError, match="unknown blend"):
        blend.blend(noise(1), noise(1), "burn")
    with pytest.raises(ValueError, match="unknown compositing"):
        blend.porter_duff(noise(1, 3), noise(1, 1), noise(1, 3), noise(1, 1), "SRC_UNDER")


@pytest.mark.parametrize(
    ("mode", "share"),
    [
        ("SRC_OVER", lambda s, d: (s, d * (1 - s))), ("SRC_IN", lambda s, d: (s * d, 0)), ("SRC_OUT", lambda s, d: (s * (1 - d), 0)),
        ("SRC_ATOP", lambda s, d: (s * d, d * (1 - s))), ("DST_OVER", lambda s, d: (s * (1 - d), d)), ("DST_IN", lambda s, d: (0, d * s)),
        ("DST_OUT", lambda s, d: (0, d * (1 - s))), ("DST_ATOP", lambda s, d: (s * (1 - d), d * s)),
        ("XOR", lambda s, d: (s * (1 - d), d * (1 - s))), ("SRC", lambda s, d: (s, 0)), ("DST", lambda s, d: (0, d)),
        ("CLEAR", lambda s, d: (0, 0)),
    ],
)  # fmt: skip
def test_porter_duff_as_areas(mode: str, share) -> None:  # type: ignore[no-untyped-def]
    """The 1984 reading: a pixel is divided into areas covered by source, destination, both, neither; each rule keeps some of them."""
    source, destination, sa, da = noise(1, 3), noise(1, 3, seed=1), torch.tensor([[0.6]]), torch.tensor([[0.3]])
    by_source, by_destination = share(0.6, 0.3)
    total = by_source + by_destination
    colour, alpha = blend.porter_duff(source, sa, destination, da, mode)
    assert abs(float(alpha) - total) < 1e-6
    expected = (source * by_source + destination * by_destination) / total if total else torch.zeros(1, 3)
    assert torch.allclose(colour, expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["DARKEN", "LIGHTEN", "MULTIPLY", "SCREEN", "OVERLAY", "ADD"])
def test_separable_modes_of_opaque_pictures(mode: str) -> None:
    s, d, one = noise(30, 3), noise(30, 3, seed=1), torch.ones(30, 1)
    colour, alpha = blend.porter_duff(s, one, d, one, mode)
    expected = {
        "DARKEN": torch.minimum(s, d), "LIGHTEN": torch.maximum(s, d), "MULTIPLY": s * d, "SCREEN": s + d - s * d,
        "OVERLAY": torch.where(d < 0.5, 2 * s * d, 1 - 2 * (1 - s) * (1 - d)), "ADD": (s + d).clamp(0, 1),
    }[mode]  # fmt: skip
    assert torch.allclose(colour, expected, atol=1e-6) and torch.equal(alpha, one)

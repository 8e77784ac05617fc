"""Colours of one picture for another: against values recorded from another implementation, and facts that hold for any picture."""

from __future__ import annotations

import torch

from backend.imaging.colour_match import adain, from_lab, lab, to_lab, wavelet

RECORDED = [
    [[0.4774, 0.0, 0.2981], [0.2295, 0.0, 0.2872], [0.0531, 0.0527, 0.2648]],
    [[0.5753, 0.1645, 0.2639], [0.3444, 0.2422, 0.4041], [0.119, 0.3016, 0.5181]],
    [[0.6719, 0.7326, 0.1374], [0.1985, 0.8355, 0.4711], [0.0, 0.9051, 0.7601]],
]


def test_lab_is_known_and_goes_back() -> None:
    known = {(1.0, 0.0, 0.0): (53.241, 80.092, 67.203), (0.5, 0.5, 0.5): (53.389, 0.0, 0.0), (0.0, 0.0, 0.01): (0.050, 0.355, -0.965)}
    made = to_lab(torch.tensor(list(known)))
    assert torch.allclose(made, torch.tensor(list(known.values())), atol=0.002), made
    colours = torch.rand(500, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(from_lab(to_lab(colours)), colours, atol=1e-4)


def test_details_stay_and_colours_come() -> None:
    random = torch.Generator().manual_seed(0)
    picture, like = torch.rand(2, 40, 56, 3, generator=random) * 0.5 + 0.2, torch.rand(2, 40, 56, 3, generator=random) * 0.2 + 0.4
    assert torch.allclose(wavelet(picture, picture), picture, atol=1e-6) and torch.allclose(lab(picture, picture), picture, atol=1e-4)
    assert torch.allclose(adain(picture, picture), picture, atol=1e-5)
    made = adain(picture, like)
    assert torch.allclose(made.mean(dim=(1, 2)), like.mean(dim=(1, 2)), atol=1e-3)
    assert torch.allclose(made.std(dim=(1, 2)), like.std(dim=(1, 2)), atol=1e-3)
    grey = torch.full_like(picture, 0.5)
    assert torch.allclose(wavelet(picture, like), picture + wavelet(grey, like) - wavelet(grey, picture), atol=1e-5)
    own, wanted = to_lab(lab(picture, like)), to_lab(like)
    for channel in (1, 2):
        assert (own[..., channel].sort(dim=-1).values.mean() - wanted[..., channel].mean()).abs() < 0.5


def test_recorded() -> None:
    """From mflux 0.24.0 (NumPy): "lab" of two gradients."""
    rows, columns = torch.linspace(0, 1, 24)[:, None], torch.linspace(0, 1, 32)[None]
    picture = torch.stack([rows.expand(24, 32), columns.expand(24, 32), rows * columns], dim=-1)[None]
    like = torch.stack([(1 - columns).expand(24, 32) * 0.6, rows.expand(24, 32) ** 2, 0.3 + 0.4 * rows * columns], dim=-1)[None]
    assert (lab(picture, like)[0, ::11, ::15] - torch.tensor(RECORDED)).abs().max() < 1e-3

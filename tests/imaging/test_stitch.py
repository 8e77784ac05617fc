"""Crop and stitch: what comes back unchanged leaves the picture unchanged, and nothing far from the mask ever changes."""

from __future__ import annotations

import pytest
import torch

from backend.base.errors import BadInput
from backend.imaging import stitch

OPTIONS = {"context": 1.2, "padding": 4, "grow": 0, "blur": 4, "multiple": 8}


def scene(x: int = 40, y: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(2, 80, 100, 3)
    mask = torch.zeros(1, 80, 100)
    mask[:, y : y + 12, x : x + 10] = 1
    return images, mask


@pytest.mark.parametrize(("x", "y"), [(40, 30), (0, 0), (88, 66)])
def test_without_resizing_nothing_is_lost(x: int, y: int) -> None:
    images, mask = scene(x, y)
    how, part, part_mask = stitch.crop(images, mask, width=0, height=0, **OPTIONS)
    assert part.shape[1] % 8 == 0 and part.shape[2] % 8 == 0 and part_mask.sum() == 2 * 120
    assert torch.allclose(stitch.put_back(how, part), images, atol=1e-6)


@pytest.mark.parametrize(("x", "y"), [(40, 30), (0, 68)])
def test_only_the_masked_part_changes(x: int, y: int) -> None:
    images, mask = scene(x, y)
    how, part, part_mask = stitch.crop(images, mask, width=64, height=64, **OPTIONS)
    assert part.shape == (2, 64, 64, 3) and part_mask.shape == (2, 64, 64)
    assert abs(how.width - how.height) <= 1
    made = stitch.put_back(how, torch.ones_like(part))
    assert made.shape == images.shape and (made[:, y : y + 12, x : x + 10] > 0.999).all()
    far = torch.nn.functional.max_pool2d(mask.unsqueeze(1), 31, 1, 15).squeeze() == 0
    assert torch.equal(made[:, far], images[:, far])


def test_masks_are_checked() -> None:
    images, mask = scene()
    with pytest.raises(BadInput, match="selects nothing"):
        stitch.crop(images, mask * 0, width=0, height=0, **OPTIONS)
    with pytest.raises(BadInput, match="3 masks"):
        stitch.crop(images, mask.expand(3, -1, -1), width=0, height=0, **OPTIONS)
    how, part, _ = stitch.crop(images, torch.nn.functional.interpolate(mask[None], (40, 50))[0], width=0, height=0, **OPTIONS)
    assert torch.allclose(stitch.put_back(how, part), images, atol=1e-6)

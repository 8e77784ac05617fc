"""What Wan's nets are given, of entries that its own nodes would not make."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from backend.base.errors import BadInput
from backend.families.wan import inputs as given
from backend.families.wan.net import WanSizes
from backend.families.wan.vace import VaceSizes

SHAPE = (1, 16, 3, 8, 6)
SMALL: dict[str, Any] = {"width": 64, "heads": 2, "layers": 2, "hidden": 48, "context": 20}


def made(make: Any, sizes: WanSizes, **cond: Any) -> dict[str, torch.Tensor]:
    out: dict[str, torch.Tensor] = make([{"cross_attn": torch.zeros(1, 7, 20), **cond}], sizes, SHAPE)
    return out


def test_masks_of_inpainting() -> None:
    """They come in pixels, one for each frame or one for all; what is known is 1 in four channels."""
    mask = torch.zeros(1, 1, 64, 48)
    mask[..., 32:, :] = 1
    known = made(given.inputs, WanSizes(**SMALL, shown=36), concat_latent_image=torch.ones(1, 16, 3, 8, 6), concat_mask=mask)["concat"]
    assert known.shape == (1, 20, 3, 8, 6) and bool((known[:, :4, :, :4] == 1).all()) and bool((known[:, :4, :, 4:] == 0).all())


def test_films_to_follow_have_a_mask_and_a_strength_each() -> None:
    film, mask = torch.zeros(1, 32, 3, 8, 6), torch.zeros(1, 64, 3, 8, 6)
    with pytest.raises(BadInput, match="2 films to follow, 1 masks for them and 2 strengths"):
        made(given.vace, VaceSizes(**SMALL, hints=96, looking=2), vace_frames=[film, film], vace_mask=[mask], vace_strength=[1.0, 1.0])

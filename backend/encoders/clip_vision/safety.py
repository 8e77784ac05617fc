"""The safety checker that came with Stable Diffusion 1: pictures close to a few hidden concepts are flagged (Rando et al. 2022,
arXiv:2210.04610, describe how it works)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import UnknownModel
from backend.encoders.clip_vision.handle import VisionHandle
from backend.encoders.clip_vision.spec import from_file
from backend.memory.pool import Pool
from backend.weights.file import Renamed
from backend.weights.open import open_weights

_TABLES = ("concept_embeds", "concept_embeds_weights", "special_care_embeds", "special_care_embeds_weights")
_STRICTER = 0.01  # for a picture that is near a concept of special care


@dataclass(frozen=True)
class SafetyChecker:
    """An image encoder with embeds [concepts, projection] and thresholds [concepts], and the same for concepts of special care."""

    encoder: VisionHandle
    concepts: Tensor
    thresholds: Tensor
    special: Tensor
    special_thresholds: Tensor

    def flagged(self, images: Tensor, pool: Pool, sensitivity: float = 0.0) -> list[bool]:
        """Which of `images` [B, H, W, 3] are near a concept. `sensitivity` is added to every likeness: higher flags more."""
        embeds = self.encoder.encode_image(images, pool).image_embeds
        assert embeds is not None
        near = _excess(embeds, self.special, self.special_thresholds)
        added = torch.full((len(images), 1), sensitivity)
        for i in range(near.shape[1]):  # each special concept that is near makes what comes after it count a little more
            is_near = _rounded(near[:, i : i + 1] + added) > 0
            added = added.masked_fill(is_near, sensitivity + _STRICTER)
        found = _rounded(_excess(embeds, self.concepts, self.thresholds) + added) > 0
        return [bool(flag) for flag in found.any(1)]


def _excess(embeds: Tensor, concepts: Tensor, thresholds: Tensor) -> Tensor:
    """Cosine likeness above the threshold: [B, concepts]."""
    return F.normalize(embeds, dim=-1) @ F.normalize(concepts, dim=-1).T - thresholds


def _rounded(values: Tensor) -> Tensor:
    return (values.double() * 1000).round() / 1000


def load_safety_checker(path: Path | str, dtype: torch.dtype = torch.float32) -> SafetyChecker:
    """A checker as diffusers saves it: a file, or its folder. Raises MissingFile, BadFile, UnknownModel."""
    file = open_weights(path)
    inner = {key.removeprefix("vision_model."): key for key in file if key.startswith(("vision_model.vision_model.", "visual_projection."))}
    encoder = from_file(Renamed(file, inner), dtype, quick=True)
    if encoder is None or any(name not in file for name in _TABLES) or encoder.sizes.projection is None:
        hint = "It is the file safety_checker/model.safetensors of a Stable Diffusion 1 repository."
        raise UnknownModel(f"{file.path.name} is no safety checker.", hint=hint, file=str(file.path))
    concepts, thresholds, special, special_thresholds = (file.tensor(name).float().clone() for name in _TABLES)
    return SafetyChecker(encoder, concepts, thresholds, special, special_thresholds)

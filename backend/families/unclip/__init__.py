"""Stable Diffusion 2.1 unCLIP, on CLIP-L or OpenCLIP-H pictures: the meaning of pictures is its vector condition.

After Ramesh et al. 2022 (arXiv:2204.06125): the image embedding, noised to a level that the net is told.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from backend.base.errors import BadInput
from backend.diffusion.noise import betas
from backend.families.sd import DISTILLED, LABELLED, UNET
from backend.families.sd.augment import noised, seed_of
from backend.families.sd.conditions import Cond, told
from backend.families.sd.sizes import attends_first, projected, sizes_by_head, still, takes
from backend.families.sd.unet import UNetSizes
from backend.families.sd2 import SD2
from backend.nn.embeddings import timestep_embedding
from backend.weights.detect import Signature
from backend.weights.file import Header, WeightFile

MEAN, DEVIATION = "noise_augmentor.data_mean", "noise_augmentor.data_std"
ALPHAS = torch.cumprod(1 - betas("squaredcos_cap_v2"), 0)
MERGED = 0.05
"""The noise that a sum of several pictures gets."""


@dataclass(frozen=True)
class UnclipSizes(UNetSizes):
    """With what image embeddings are normalised by before noise is added; empty: not at all."""

    mean: tuple[float, ...] = ()
    deviation: tuple[float, ...] = ()


def sizes_of(header: Header) -> UnclipSizes:
    """Sizes from shapes, and the statistics of embeddings that lie beside the net."""
    sizes = sizes_by_head(header)
    values = {}
    if isinstance(header, WeightFile) and MEAN in header and DEVIATION in header:
        values = {name: tuple(header.tensor(key).float().flatten().tolist()) for name, key in (("mean", MEAN), ("deviation", DEVIATION))}
    return UnclipSizes(**{**{f: getattr(sizes, f) for f in UNetSizes.__dataclass_fields__}, **values})


def marks(sizes: UnclipSizes) -> dict[str, Tensor]:
    """The statistics under the names of published files."""
    return {MEAN: torch.tensor(sizes.mean), DEVIATION: torch.tensor(sizes.deviation)} if sizes.mean else {}


def vector(cond: Cond, sizes: UNetSizes, shape: Sequence[int]) -> Tensor:
    """[1, adm]: the noised embeddings of all pictures, weighted and summed, and the embedded noise level; zeros without a picture."""
    assert isinstance(sizes, UnclipSizes) and sizes.adm is not None
    width, seed = sizes.adm // 2, seed_of(cond)
    told_of: list[dict[str, Any]] = cond.get("unclip_conditioning", [])
    seen = [_one(row, entry, sizes, seed) for entry in told_of for row in _embeds(entry, width)]
    if not seen:
        return torch.zeros(1, sizes.adm)
    total = torch.stack(seen).sum(0)
    return total if len(seen) == 1 else augmented(total[:, :width], round(999 * MERGED), sizes, seed)


def is_told_of_pictures(header: Header) -> bool:
    """Whether the vector has room for an embedding and its noise level; Lotus is told four numbers there."""
    return header[LABELLED].shape[1] > 4 and takes(header, 4) and attends_first(header) and projected(header, 2) and still(header)


def _one(embed: Tensor, entry: Mapping[str, Any], sizes: UnclipSizes, seed: int) -> Tensor:
    return augmented(embed[None], round(999 * float(entry["noise_augmentation"])), sizes, seed) * float(entry["strength"])


def _embeds(entry: Mapping[str, Any], width: int) -> Tensor:
    embeds: Tensor | None = entry["clip_vision_output"].image_embeds
    if embeds is None or embeds.shape[-1] != width:
        got = "no projection" if embeds is None else f"embeddings {embeds.shape[-1]} wide"
        raise BadInput(
            f"The picture was encoded by an image encoder with {got}; this unCLIP model takes {width}.",
            hint="Use the image encoder of the checkpoint (unCLIPCheckpointLoader).",
        )
    return embeds


def augmented(embed: Tensor, level: int, sizes: UnclipSizes, seed: int) -> Tensor:
    """[n, D] -> [n, 2 D]: noised among its normalised kind, and the level embedded."""
    mean, deviation = torch.tensor(sizes.mean or (0.0,)), torch.tensor(sizes.deviation or (1.0,))
    z = noised((embed.cpu() - mean) / deviation, ALPHAS, level, seed) * deviation + mean
    return torch.cat([z, timestep_embedding(torch.full((len(z),), float(level)), embed.shape[-1])], dim=1)


FAMILIES = (
    replace(
        SD2,
        name="Stable Diffusion 2 unCLIP",
        signature=Signature(
            has=(*UNET, LABELLED),
            lacks=(DISTILLED, "encoder_hid_proj.weight"),
            where=is_told_of_pictures,
        ),
        sizes=sizes_of,
        inputs=told("Stable Diffusion 2 unCLIP", vector=vector),
        beside=(MEAN, DEVIATION),
        marks=marks,
    ),
)

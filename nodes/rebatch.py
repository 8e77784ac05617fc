"""Cutting batches into lists of smaller batches, and joining lists into batches."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from backend.engine.context import Context
from backend.graph.declare import Int, node
from backend.imaging.batch import repeat_to_batch
from backend.imaging.latents import batch_indices
from backend.imaging.resize import resize
from nodes.types import Image, Latent

rebatch = partial(node, module="comfy_extras.nodes_rebatch", form="v3", input_is_list=True)


@rebatch("RebatchImages", title="Rebatch Images", category="image/batch")
def rebatch_images(ctx: Context, *, images: list[Image], batch_size: list[int] = Int(1, min=1, max=4096)) -> list[Image]:
    """All images, in order, in batches of this size; a batch also ends where the picture size changes."""
    singles = [image for batch in images for image in torch.split(batch, 1)]
    return [torch.cat(group) for group in _groups(singles, batch_size[0])]


@rebatch("RebatchLatents", title="Rebatch Latents", category="latent/batch")
def rebatch_latents(ctx: Context, *, latents: list[Latent], batch_size: list[int] = Int(1, min=1, max=4096)) -> list[Latent]:
    """All latents, in order, in batches of this size; a batch also ends where the size changes. Masks and noise numbers go along."""
    singles = [single for latent in latents for single in _single(latent)]
    out: list[dict[str, Any]] = []
    for group in _groups([s["samples"] for s in singles], batch_size[0]):
        members, singles = singles[: len(group)], singles[len(group) :]
        out.append({
            "samples": torch.cat(group),
            "noise_mask": torch.cat([m["noise_mask"] for m in members]),
            "batch_index": [m["batch_index"] for m in members],
        })  # fmt: skip
    return out


def _groups(singles: list[Tensor], size: int) -> list[list[Tensor]]:
    groups: list[list[Tensor]] = []
    for single in singles:
        if not groups or len(groups[-1]) == size or groups[-1][0].shape != single.shape:
            groups.append([])
        groups[-1].append(single)
    return groups


def _single(latent: dict[str, Any]) -> list[dict[str, Any]]:
    """Every sample with its mask at picture resolution and its noise number."""
    samples = latent["samples"]
    height, width = samples.shape[-2] * 8, samples.shape[-1] * 8
    mask = latent.get("noise_mask")
    if mask is None:
        mask = torch.ones(1, 1, height, width)
    if mask.shape[-2:] != (height, width):
        mask = resize(mask.reshape(-1, 1, *mask.shape[-2:]), width, height, "bilinear")
    mask = repeat_to_batch(mask, samples.shape[0])
    numbers = batch_indices(latent)
    return [{"samples": samples[i : i + 1], "noise_mask": mask[i : i + 1], "batch_index": numbers[i]} for i in range(samples.shape[0])]

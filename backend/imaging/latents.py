"""Arithmetic on LATENT dicts: `samples [B, C, (T,) H, W]`, optional `noise_mask` and `batch_index`. Dicts are copied, never changed."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from backend.imaging.batch import repeat_to_batch
from backend.imaging.resize import resize

LatentDict = dict[str, Any]


def aligned(reference: Tensor, other: Tensor, repeat: bool = True, method: str = "bilinear") -> Tensor:
    """`other` at the spatial size of `reference` (resized, centre crop) and, if asked, repeated to its batch size."""
    if other.shape[-2:] != reference.shape[-2:]:
        other = resize(other, reference.shape[-1], reference.shape[-2], method, "center")
    return repeat_to_batch(other, reference.shape[0]) if repeat else other


def interpolate_directions(a: Tensor, b: Tensor, ratio: float) -> Tensor:
    """Blend unit vectors along dim 1 (`ratio` of `a`), renormalise, and give them the blended magnitude. Zero vectors stay zero."""
    norm_a: Tensor = torch.linalg.vector_norm(a, dim=1, keepdim=True)
    norm_b: Tensor = torch.linalg.vector_norm(b, dim=1, keepdim=True)
    blended = torch.nan_to_num(a / norm_a) * ratio + torch.nan_to_num(b / norm_b) * (1 - ratio)
    direction: Tensor = torch.nan_to_num(blended / torch.linalg.vector_norm(blended, dim=1, keepdim=True))
    return direction * (norm_a * ratio + norm_b * (1 - ratio))


def batch_indices(latent: LatentDict) -> list[int]:
    """Which entry of the seed's noise each sample takes; 0, 1, 2 ... where nothing is said."""
    return list(latent.get("batch_index", range(latent["samples"].shape[0])))


def take(latent: LatentDict, start: int, length: int) -> LatentDict:
    """Samples start .. start + length - 1 (cut to the batch) with their masks and noise indices."""
    samples = latent["samples"]
    start = min(start, samples.shape[0] - 1)
    stop = min(start + length, samples.shape[0])
    out = {**latent, "samples": samples[start:stop].clone(), "batch_index": batch_indices(latent)[start:stop]}
    mask = latent.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        out["noise_mask"] = repeat_to_batch(mask, samples.shape[0])[start:stop].clone()
    return out


def repeated(latent: LatentDict, amount: int) -> LatentDict:
    """The batch `amount` times; given noise indices go on counting so that every copy gets noise of its own."""
    samples = latent["samples"]
    out = {**latent, "samples": samples.repeat(amount, *[1] * (samples.ndim - 1))}
    mask = latent.get("noise_mask")
    if mask is not None and mask.shape[0] > 1:
        out["noise_mask"] = repeat_to_batch(mask, samples.shape[0]).repeat(amount, *[1] * (mask.ndim - 1))
    if "batch_index" in latent:
        index = list(latent["batch_index"])
        span = max(index) - min(index) + 1
        out["batch_index"] = [i + copy * span for copy in range(amount) for i in index]
    return out


def cut(samples: Tensor, axis: int, index: int, amount: int) -> Tensor:
    """`amount` slices of one axis from `index` on (negative counts from the end), shortened to what exists."""
    size = samples.shape[axis]
    start = min(index, size - 1) if index >= 0 else max(size + index, 0)
    return samples.narrow(axis, start, min(amount, size - start))

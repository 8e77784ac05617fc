"""Depth and surface normals as pictures."""

from __future__ import annotations

import torch
from torch import Tensor

LOW, HIGH = 256, 65535


def as_condition(image: Tensor) -> Tensor:
    """A picture [B, H, W, C] of depth as [B, 1, H, W] in -1..1, each stretched to the whole range; an even one is 0."""
    plane = image[..., :3].mean(-1)[:, None].float()
    low, high = plane.amin((1, 2, 3), keepdim=True), plane.amax((1, 2, 3), keepdim=True)
    return torch.where(high > low, 2 * (plane - low) / (high - low).clamp(min=1e-12) - 1, torch.zeros_like(plane))


def split(image: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [B, H, W, 3] and depth [B, H, W, 3] in 0..1 of a picture with depth [B, H, W, 4 or 6].

    Six channels keep depth as a second picture whose green and blue are the high and low byte of 16 bits (LDM3D, Stan et al. 2023,
    arXiv:2305.10853); four keep it as it is. Raises ValueError for any other number.
    """
    channels = image.shape[-1]
    if channels == 4:
        depth = image[..., 3]
    elif channels == 6:
        bytes_ = (image[..., 4:] * 255).round()
        depth = (bytes_[..., 0] * LOW + bytes_[..., 1]) / HIGH
    else:
        raise ValueError(f"a picture with depth has 4 or 6 channels, this one {channels}")
    return image[..., :3], depth[..., None].expand(*depth.shape, 3)


def join(image: Tensor, depth: Tensor, channels: int) -> Tensor:
    """The inverse of `split`: colours and depth [B, H, W, 3] in 0..1 as one picture of 4 or 6 channels. Raises ValueError."""
    plane = depth[..., :3].mean(-1, keepdim=True).clamp(0, 1)
    if channels == 4:
        return torch.cat([image[..., :3], plane], dim=-1)
    if channels != 6:
        raise ValueError(f"a picture with depth has 4 or 6 channels, not {channels}")
    whole = (plane * HIGH).round()
    high = (whole / LOW).floor()
    return torch.cat([image[..., :3], torch.zeros_like(plane), high / 255, (whole - high * LOW) / 255], dim=-1)


def mean_depth(image: Tensor) -> Tensor:
    """A decoded depth latent [B, H, W, 3] as an even grey: its channels mean the same thing."""
    return image[..., :3].mean(-1, keepdim=True).expand(*image.shape[:-1], 3)


def unit_normals(image: Tensor) -> Tensor:
    """A decoded latent of surface normals [B, H, W, 3], 0..1 for -1..1, with every vector of length one."""
    vectors = image[..., :3] * 2 - 1
    length: Tensor = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.clamp(min=1e-6) / 2 + 0.5

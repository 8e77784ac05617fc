"""Bilinear resampling on the sphere: directions of latent vectors turn, magnitudes blend linearly.

Linear blending of two noise-like vectors shortens them (their mean has a smaller norm), which a diffusion model reads as less noise;
spherical interpolation (Shoemake, "Animating rotation with quaternion curves", 1985) keeps the norm.
"""

from __future__ import annotations

import torch
from torch import Tensor

_PARALLEL = 1e-5  # closer to +-1 than this, the angle has no stable sine


def slerp(a: Tensor, b: Tensor, t: Tensor, dim: int = -1) -> Tensor:
    """Turn `a` towards `b` by the fraction `t` (broadcastable), vectors along `dim`; magnitudes are blended linearly.

    (Anti)parallel or zero vectors have no defined turn and are blended linearly.
    """
    norm_a, norm_b = torch.linalg.vector_norm(a, dim=dim, keepdim=True), torch.linalg.vector_norm(b, dim=dim, keepdim=True)
    tiny = torch.finfo(a.dtype).tiny
    unit_a, unit_b = a / norm_a.clamp_min(tiny), b / norm_b.clamp_min(tiny)
    cosine = (unit_a * unit_b).sum(dim=dim, keepdim=True)
    flat = (cosine.abs() > 1 - _PARALLEL) | (norm_a <= tiny) | (norm_b <= tiny)
    angle = torch.acos(torch.where(flat, torch.zeros_like(cosine), cosine))
    direction = (torch.sin((1 - t) * angle) * unit_a + torch.sin(t * angle) * unit_b) / torch.sin(angle)
    magnitude = norm_a * (1 - t) + norm_b * t
    return torch.where(flat, a * (1 - t) + b * t, direction * magnitude)


def bislerp(planes: Tensor, width: int, height: int) -> Tensor:
    """Resample `[B, C, H, W]` by `slerp` of the channel vectors, first along x, then along y (half-pixel centres, edges held)."""
    work = planes.float()
    work = _along(work, width, -1)
    work = _along(work, height, -2)
    return work.to(planes.dtype)


def _along(planes: Tensor, size: int, axis: int) -> Tensor:
    length = planes.shape[axis]
    position = ((torch.arange(size, device=planes.device, dtype=torch.float32) + 0.5) * (length / size) - 0.5).clamp(0, length - 1)
    left = position.floor().long()
    right = (left + 1).clamp_max(length - 1)
    shape = [1] * planes.ndim
    shape[axis] = size
    return slerp(planes.index_select(axis, left), planes.index_select(axis, right), (position - left).reshape(shape), dim=1)

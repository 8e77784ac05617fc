"""Give a picture the colours of another one with the same content, and keep its details. Pictures are [B, H, W, 3] in 0..1 (sRGB)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

LEVELS = 5
OWN_LIGHT = 0.8
"""How much of a picture's own lightness stays where its histograms are matched."""
_EPS = 1e-5
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE = (0.95047, 1.0, 1.08883)
"""D65 (IEC 61966-2-1)."""
_BEND = 6 / 29
_SLOPE = (29 / 3) ** 3 / 116


def wavelet(picture: Tensor, like: Tensor) -> Tensor:
    """What is finer than about 32 pixels of `picture`, on what is coarser of `like` (an undecimated wavelet transform, as StableSR's
    colour correction: Wang et al. 2023, arXiv:2305.07015, section 3.4)."""
    return (picture - _coarse(picture) + _coarse(like)).clamp(0, 1)


def adain(picture: Tensor, like: Tensor) -> Tensor:
    """Mean and deviation of each channel as in `like` (Huang and Belongie 2017, arXiv:1703.06868)."""

    def facts(x: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(x * 2 - 1, dim=(1, 2), keepdim=True)
        return mean, (variance + _EPS).sqrt()

    (mean, deviation), (wanted, spread) = facts(picture), facts(like)
    return (((picture * 2 - 1 - mean) / deviation * spread + wanted) / 2 + 0.5).clamp(0, 1)


def lab(picture: Tensor, like: Tensor) -> Tensor:
    """As `wavelet`, then the histograms of CIELAB's colours as in `like`, and a fifth of the way that of lightness."""
    own, wanted = to_lab(wavelet(picture, like)), to_lab(like)
    matched = torch.stack([_matched(own[..., i], wanted[..., i]) for i in range(3)], dim=-1)
    matched[..., 0] = torch.lerp(matched[..., 0], own[..., 0], OWN_LIGHT)
    return from_lab(matched).clamp(0, 1)


METHODS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"lab": lab, "wavelet": wavelet, "adain": adain}


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB [..., 3] in 0..1 -> CIELAB."""
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    xyz = linear @ rgb.new_tensor(_TO_XYZ).T / rgb.new_tensor(_WHITE)
    x, y, z = torch.where(xyz > _BEND**3, xyz.clamp(min=0) ** (1 / 3), xyz * _SLOPE + 16 / 116).unbind(-1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=-1)


def from_lab(values: Tensor) -> Tensor:
    """CIELAB [..., 3] -> sRGB, beyond 0..1 for colours that it has not."""
    light, a, b = values.unbind(-1)
    y = (light + 16) / 116
    bent = torch.stack([y + a / 500, y, y - b / 200], dim=-1)
    xyz = torch.where(bent > _BEND, bent**3, (bent - 16 / 116) / _SLOPE) * values.new_tensor(_WHITE)
    linear = xyz @ torch.linalg.inv(values.new_tensor(_TO_XYZ)).T
    return torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055, 12.92 * linear)


def _coarse(x: Tensor) -> Tensor:
    """What remains after `LEVELS` blurs, each with twice the reach of the one before; small pictures are blurred less far."""
    x = x.movedim(-1, 1)
    most = max(1, min(x.shape[-2:]) // 8)
    for level in range(LEVELS):
        reach = min(2**level, most)
        for axis, padding in ((-1, (reach, reach, 0, 0)), (-2, (0, 0, reach, reach))):
            wide, length = F.pad(x, padding, mode="replicate"), x.shape[axis]
            near, far = (wide.narrow(axis, at, length) for at in (0, 2 * reach))
            x = x / 2 + (near + far) / 4
    return x.movedim(1, -1)


def _matched(values: Tensor, like: Tensor) -> Tensor:
    """Each of `values` [B, H, W] replaced by the one of `like` with the same rank."""
    order = values.flatten(1).argsort(dim=1, stable=True)
    ranked = like.flatten(1).sort(dim=1).values
    return torch.empty_like(ranked).scatter_(1, order, ranked).view_as(values)

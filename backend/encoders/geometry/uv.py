"""Where pixels lie on the plane of view."""

from __future__ import annotations

import torch
from torch import Tensor


def plane_of_view(height: int, width: int, aspect: float, device: torch.device | None = None) -> Tensor:
    """[height, width, 2] (across, down), float32: where pixels lie on a plane whose half diagonal is 1; `aspect` is width to height."""
    diagonal = (1 + aspect**2) ** 0.5
    spans = [span * (n - 1) / n for span, n in ((aspect / diagonal, width), (1 / diagonal, height))]
    across, down = (torch.linspace(-span, span, n, device=device) for span, n in zip(spans, (width, height), strict=True))
    return torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)


def waves(plane: Tensor, channels: int, theta: float = 100.0) -> Tensor:
    """[H, W, 2] -> [channels, H, W]: sines and cosines of the place across, then of that down."""
    rates = theta ** -(torch.arange(channels // 4, device=plane.device, dtype=torch.float32) / (channels / 4))
    angles = plane.movedim(-1, 0)[:, None] * rates[:, None, None]
    return torch.cat([angles.sin(), angles.cos()], dim=1).flatten(0, 1)

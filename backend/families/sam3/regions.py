"""Equal cuts of boxes of any size (RoIAlign, He et al. 2017, arXiv:1703.06870, section 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def roi_align(features: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """features [B, C, H, W], boxes [B, N, 4] (left, top, right, bottom in cells of the features) -> [B, N, C, cells, cells].

    A cell is the mean of as many samples per axis as features pass under it, at least one; samples lie on cells' corners as in the first
    implementations, which were half a cell off. A box is at least one cell of the features wide and high.
    """
    cuts = [[_cut(image, box.tolist(), cells) for box in listed] for image, listed in zip(features, boxes, strict=True)]
    return torch.stack([torch.stack(each) for each in cuts])


def _cut(image: Tensor, box: list[float], cells: int) -> Tensor:
    left, top, right, bottom = box
    x, keep_x = _samples(left, max(right - left, 1.0), image.shape[2], cells, image.device)
    y, keep_y = _samples(top, max(bottom - top, 1.0), image.shape[1], cells, image.device)
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None].to(image.dtype)
    sampled = F.grid_sample(image[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    sampled = sampled * (keep_y[:, None] & keep_x)
    return sampled.reshape(len(image), cells, -1, cells, len(x) // cells).mean(dim=(2, 4))


def _samples(start: float, length: float, side: int, cells: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where samples lie on an axis, from -1 at the middle of its first cell to 1 at that of its last, and which are not far outside."""
    each = math.ceil(length / cells)
    at = start + (torch.arange(cells * each, device=device, dtype=torch.float32) + 0.5) * (length / cells / each)
    return at * 2 / max(side - 1, 1) - 1, (at >= -1) & (at <= side)

"""Pictures as patches: sizes that fit, and the order in which towers read them (neighbours that become one token lie together)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput

MERGE = 2
"""Patches a side that become one token."""
FRAMES = 2
"""A patch spans so many frames; a picture is the same one twice."""


@dataclass(frozen=True)
class Look:
    """How a tower wants pictures. `least` and `most` pixels."""

    patch: int
    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]
    least: int
    most: int


QWEN2 = Look(14, (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), 56 * 56, 28 * 28 * 16384)
QWEN3 = Look(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 256 * 256, 4096 * 4096)


def fitting(height: int, width: int, look: Look) -> tuple[int, int]:
    """The nearest size in whole tokens, within the pixels that the tower takes. Raises BadInput for a mere strip."""
    if min(height, width) < 1 or max(height, width) > 200 * min(height, width):
        raise BadInput(
            f"The picture is {width} x {height} pixels; a side may be at most 200 times the other.", hint="Crop it before it is shown."
        )
    step = look.patch * MERGE
    tall, wide = max(step, round(height / step) * step), max(step, round(width / step) * step)
    if tall * wide > look.most:
        scale = math.sqrt(height * width / look.most)
        tall, wide = (max(step, math.floor(side / scale / step) * step) for side in (height, width))
    elif tall * wide < look.least:
        scale = math.sqrt(look.least / (height * width))
        tall, wide = (math.ceil(side * scale / step) * step for side in (height, width))
    return tall, wide


def patches(picture: Tensor, look: Look) -> tuple[Tensor, int, int]:
    """A picture [H, W, 3] in 0..1 -> (patches [rows * columns, 3 * frames * patch^2], rows, columns) in the towers' order."""
    height, width = picture.shape[:2]
    tall, wide = fitting(height, width, look)
    pixels = picture[..., :3].float().movedim(-1, 0).unsqueeze(0)
    if (tall, wide) != (height, width):
        pixels = F.interpolate(pixels, (tall, wide), mode="bicubic", antialias=True).clamp(0, 1)
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (look.mean, look.deviation))
    rows, columns, p = tall // look.patch, wide // look.patch, look.patch
    cut = ((pixels - mean) / deviation).view(3, rows // MERGE, MERGE, p, columns // MERGE, MERGE, p)
    ordered = cut.permute(1, 4, 2, 5, 0, 3, 6).reshape(rows * columns, 3, 1, p, p)
    return ordered.expand(-1, -1, FRAMES, -1, -1).reshape(rows * columns, -1), rows, columns


def merged_order(values: Tensor) -> Tensor:
    """[rows, columns, ...] -> [rows * columns, ...] in the towers' order."""
    rows, columns = values.shape[:2]
    cut = values.reshape(rows // MERGE, MERGE, columns // MERGE, MERGE, *values.shape[2:])
    return cut.transpose(1, 2).reshape(rows * columns, *values.shape[2:])


def places(rows: int, columns: int, device: torch.device | None = None) -> Tensor:
    """(row, column) of every patch [rows * columns, 2], in the towers' order."""
    grid = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return merged_order(torch.stack(grid, dim=-1))

"""Films whose points move on given ways (ATI; Wang et al. 2025, arXiv:2505.22944): what is seen at a point goes where the point goes."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.base.errors import BadInput

LENGTH = 121
"""Moments of a way: five seconds at 24 a second. A shorter one ends; a longer one is cut."""
_SPAN = 4
_MOST, _FARTHEST = 100000, 1e6

Way = list[dict[str, Any]]


def read(text: str) -> list[list[Way]]:
    """Ways of points out of JSON: one way, a list of ways, or one such list for each film. Nothing for an empty text.

    Raises BadInput for a text that is something else.
    """
    try:
        found = json.loads(text.replace("'", '"') or "[]")
    except (ValueError, RecursionError) as error:
        raise BadInput(f"The tracks are no JSON: {error}.", hint=_HINT, input="tracks") from error
    depth, inner = 0, found
    while isinstance(inner, list) and inner:
        depth, inner = depth + 1, inner[0]
    if found == []:
        return []
    films: list[list[Way]] | None = {1: [[found]], 2: [found], 3: found}.get(depth)
    if films is None or not all(_is_way(way) for film in films for way in (film if isinstance(film, list) else [None])):
        raise BadInput("The tracks are no lists of points.", hint=_HINT, input="tracks")
    return films


_HINT = 'A track is a list of points, [{"x": 0, "y": 0}, ...] in pixels; give a list of such tracks.'


def _is_way(way: Any) -> bool:
    return isinstance(way, list) and 0 < len(way) < _MOST and all(isinstance(p, dict) and _is_place(p) for p in way)


def _is_place(point: dict[str, Any]) -> bool:
    return all(isinstance(point.get(k), int | float) and -_FARTHEST < point[k] < _FARTHEST for k in ("x", "y"))


def places(ways: list[Way], width: int, height: int, length: int) -> Tensor:
    """Where points are in each of `length` frames: [length, points, 3] with x, y from the middle in halves of the shorter side, and whether
    the point is there (1, else -1)."""
    every = torch.zeros(LENGTH, len(ways), 3)
    for i, way in enumerate(ways):
        found = torch.tensor([[float(point["x"]), float(point["y"]), 1.0] for point in way[:LENGTH]])
        every[: len(found), i] = found
    short = min(width, height)
    every[..., :2] = (every[..., :2] - torch.tensor([width / 2, height / 2])) / short * 2
    every[..., 2] = every[..., 2] * 2 - 1
    later = length - 1
    if later < 1:
        return every[:1]
    common = math.gcd(LENGTH - 1, later)
    step, times = (LENGTH - 1) // common, later // common
    return torch.cat([every[:1], every[1:].repeat_interleave(times, dim=0)[min(1, step - 1) :: step]])


def moved(film: Tensor, where: Tensor, temperature: float, most: int) -> tuple[Tensor, Tensor]:
    """A film [C, T, H, W] as latents, whose first frame is known, with what lies at the points there carried along their ways.

    `where` is [1 + 4 (T - 1), points, 3]. At each cell the `most` nearest points count, falling off with their distance squared times
    `temperature`. Returns the film, and how much of each cell is known, [T, H, W].
    """
    _, frames, height, width = film.shape
    short = min(height, width)
    start = (where[:1, :, :2] / torch.tensor([width / short, height / short])).clamp(-1, 1)
    features = F.grid_sample(film[None, :, 0], start[None], mode="bilinear", padding_mode="zeros", align_corners=False)[0, :, 0].T
    moments = where[1:].reshape(frames - 1, _SPAN, *where.shape[1:])
    seen = moments[..., 2].clamp(0, 1)
    count = seen.sum(1)
    later = (moments[..., :2] * seen[..., None]).sum(1) / (count[..., None] + 1e-5)
    rows, columns = (torch.linspace(-side / short, side / short, side) for side in (height, width))
    down, right = torch.meshgrid(rows, columns, indexing="ij")
    mixed, known = [film[:, :1]], [torch.ones(1, height, width)]
    for i in range(frames - 1):  # one frame at a time: all at once would take a number for each point at each cell of the film
        apart = (right[..., None] - later[i, :, 0]) ** 2 + (down[..., None] - later[i, :, 1]) ** 2
        near = torch.exp(-apart * temperature) * count[i].clamp(0, 1)
        weight, which = near.topk(min(most, near.shape[-1]), dim=-1)
        carried = (features[which] * weight[..., None]).sum(dim=2).permute(2, 0, 1)
        total = weight.sum(-1)
        mixed.append((carried + film[:, i + 1] * (1 - total.clamp(0, 1))).unsqueeze(1))
        known.append(total.unsqueeze(0))
    return torch.cat(mixed, dim=1), torch.cat(known)

"""A line in a frame, as a picture."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_MARGIN = 48


def curve(values: Sequence[float], name: str, along: str, width: int = 800, height: int = 480) -> Tensor:
    """`values` over their number as [1, height, width, 3]; what is no number leaves a gap."""
    from PIL import Image, ImageDraw

    picture = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = _MARGIN * 1.5, _MARGIN / 2, width - _MARGIN / 2, height - _MARGIN
    known = [value for value in values if math.isfinite(value)]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    high = high if high > low else low + 1
    for i in range(5):
        at, level = bottom - (bottom - top) * i / 4, low + (high - low) * i / 4
        draw.line([(left, at), (right, at)], fill="#dddddd")
        draw.text((4, at - 6), f"{level:.4g}", fill="black")
    draw.line([(left, top), (left, bottom), (right, bottom)], fill="black")
    draw.text((left, 4), name, fill="black")
    draw.text((right - 40, bottom + 18), along, fill="black")
    for i in sorted({0, (len(values) - 1) // 2, len(values) - 1}):
        draw.text((left + (right - left) * i / max(1, len(values) - 1), bottom + 4), str(i + 1), fill="black")
    points: list[tuple[float, float]] = []
    for i, value in enumerate([*values, math.nan]):
        if math.isfinite(value):
            points.append((left + (right - left) * i / max(1, len(values) - 1), bottom - (bottom - top) * (value - low) / (high - low)))
            continue
        if len(points) > 1:
            draw.line(points, fill="#3060c0", width=2)
        points = []
    return torch.from_numpy(np.asarray(picture).copy()).float().unsqueeze(0) / 255

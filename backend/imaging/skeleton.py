"""People as coloured skeletons on black, as the ControlNets for poses were trained with (OpenPose, Cao et al. 2019, arXiv:1812.08008)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
NECK = 1
FROM_COCO = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
"""For each of the 18 points of the skeleton which of COCO's 17 it is; the neck is between the shoulders."""
SHOULDERS = (5, 6)
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16),
    (0, 15), (15, 17),
)  # fmt: skip
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0), (0, 255, 85), (0, 255, 170),
    (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip
DIMMED = 0.6
"""How bright limbs are beside their joints."""
USUAL_SIDE, USUAL_HALF = 512, 4.0
"""Half the thickness of limbs in pixels, at this shorter side."""


def from_coco(person: Floats, sure: float) -> list[tuple[float, float, float] | None]:
    """[17, 3] (x, y, how sure) -> the 18 points; None for one that is less sure than `sure`."""
    neck = person[list(SHOULDERS)].mean(axis=0)
    neck[2] = person[list(SHOULDERS), 2].min()
    points = [neck if i == NECK else person[from_] for i, from_ in enumerate(FROM_COCO)]
    return [(float(x), float(y), float(s)) if s >= sure and math.isfinite(x + y) else None for x, y, s in points]


def draw(people: Sequence[Sequence[tuple[float, float, float] | None]], height: int, width: int, thickness: float = 1.0) -> Tensor:
    """Skeletons of 18 points each as [height, width, 3] in 0..1; `thickness` is a factor."""
    from PIL import Image, ImageDraw

    half = max(1.0, USUAL_HALF * min(height, width) / USUAL_SIDE * thickness)
    picture = Image.new("RGB", (width, height))
    drawing = ImageDraw.Draw(picture)
    for points in people:
        for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
            start, end = points[a], points[b]
            if start is not None and end is not None:
                drawing.polygon(_limb(start, end, half), fill=tuple(int(c * DIMMED) for c in colour))
    for points in people:
        for point, colour in zip(points, COLOURS, strict=True):
            if point is not None:
                x, y, _ = point
                drawing.ellipse((x - half, y - half, x + half, y + half), fill=colour)
    return torch.from_numpy(np.asarray(picture, np.float32) / 255)


def _limb(start: tuple[float, float, float], end: tuple[float, float, float], half: float) -> list[tuple[float, float]]:
    """The outline of an ellipse from one point to another."""
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    along = (end[0] - start[0]) / 2, (end[1] - start[1]) / 2
    length = math.hypot(*along) or 1.0
    across = -along[1] / length * half, along[0] / length * half
    turns = [(math.cos(t), math.sin(t)) for t in np.linspace(0, 2 * math.pi, 48, endpoint=False)]
    return [(x + along[0] * c + across[0] * s, y + along[1] * c + across[1] * s) for c, s in turns]

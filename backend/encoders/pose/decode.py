"""From a box to what the net sees, and from heat maps to places in the picture, both without the half pixel that rounding costs
(Huang et al. 2020, arXiv:1911.07524) and with the peak found between pixels (DARK, Zhang et al. 2020, arXiv:1910.06278)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
MARGIN = 1.25
BLUR, REACH = 0.8, 5
"""Deviation and reach in pixels of what heat maps are smoothed with."""


@dataclass(frozen=True)
class Frame:
    """What the net sees of a picture: a part with this middle and these sides, in pixels of the picture."""

    x: float
    y: float
    width: float
    height: float


def frame_of(box: tuple[float, float, float, float], size: tuple[int, int]) -> Frame:
    """Around `box` (left, top, width, height) with a margin, in the shape of `size` (rows, columns)."""
    left, top, width, height = box
    shape = size[1] / size[0]
    wide = max(width, height * shape)
    return Frame(left + width / 2, top + height / 2, wide * MARGIN, wide / shape * MARGIN)


def seen(image: Floats, frame: Frame, size: tuple[int, int]) -> Floats:
    """The part of `image` [H, W, 3] in `frame` as [rows, columns, 3]; black beyond its borders."""
    from scipy import ndimage  # here: scipy is slow to import

    steps = frame.height / (size[0] - 1), frame.width / (size[1] - 1)
    start = frame.y - frame.height / 2, frame.x - frame.width / 2
    found = [ndimage.affine_transform(image[..., i], np.diag(steps), start, size, order=1) for i in range(3)]
    return np.stack(found, axis=-1)


def joints(heat: Floats, frame: Frame) -> Floats:
    """Heat maps [joints, h, w] -> [joints, 3]: x and y in pixels of the picture, and how sure the net is."""
    rows, columns = heat.shape[1:]
    found = np.empty((len(heat), 3), np.float32)
    for i, each in enumerate(heat):
        at = int(each.argmax())
        y, x = divmod(at, columns)
        dx, dy = _between(each, x, y)
        found[i, 0] = (x + dx) * frame.width / (columns - 1) + frame.x - frame.width / 2
        found[i, 1] = (y + dy) * frame.height / (rows - 1) + frame.y - frame.height / 2
        found[i, 2] = each[y, x]
    return found


def _between(heat: Floats, x: int, y: int) -> tuple[float, float]:
    """How far the peak of a bell whose logarithm has these values lies from pixel (x, y): one step of Newton's method."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(heat, BLUR, radius=REACH)
    log = np.pad(np.log(np.clip(smooth, 1e-3, 50)), 1, mode="edge")
    a: Any = log[y : y + 3, x : x + 3].astype(np.float64)
    slope = np.array([a[1, 2] - a[1, 0], a[2, 1] - a[0, 1]]) / 2
    mixed = (a[2, 2] - a[1, 2] - a[2, 1] + 2 * a[1, 1] - a[1, 0] - a[0, 1] + a[0, 0]) / 2
    bend = np.array([[a[1, 2] - 2 * a[1, 1] + a[1, 0], mixed], [mixed, a[2, 1] - 2 * a[1, 1] + a[0, 1]]])
    bend += np.finfo(np.float32).eps * np.eye(2)
    if abs(np.linalg.det(bend)) < 1e-12:
        return 0.0, 0.0
    dx, dy = -np.linalg.solve(bend, slope)
    return float(dx), float(dy)

"""Says what is in a 128x128 picture by plain image processing: colour, shape, place and size of each thing. Nothing here is learned."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tools.train_tiny.draw import COLOURS, GRID_X, GRID_Y, SHAPES, SIDE, distance

Array = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Mask = NDArray[np.bool_]
RADIUS = 40.0
"""Radius at which the model of each shape is drawn."""
LEAST_AREA = 150
"""Pixels; smaller spots are noise, not things."""
LEAST_OVERLAP = 0.72
"""Intersection over union with the best shape below which a spot is no shape at all."""
OFF_CENTRE = 14.0
SMALL, MEDIUM = 22.5, 35.0
"""Radii, in pixels, below which a thing is small or medium."""


@dataclass(frozen=True)
class Seen:
    """One thing in a picture. `shape` is "" where it resembles none of the eight."""

    colour: str
    shape: str
    place: str
    size: str
    x: float
    y: float
    overlap: float


def judge(pixels: Bytes) -> list[Seen]:
    """The things in [SIDE, SIDE, 3] RGB, largest first; empty where there is only background."""
    picture = median(pixels).astype(np.float32)
    behind = backdrop(picture)
    away = np.linalg.norm(picture - behind, axis=-1)
    rough = ndimage.binary_opening((away > 48) & ~is_pattern(picture, behind), iterations=1)
    labels, count = ndimage.label(rough)
    things = [thing for i in range(1, count + 1) if (thing := look(picture, behind, labels == i)) is not None]
    return [seen for _, seen in sorted(things, key=lambda pair: -pair[0])]


def ordered(a: Bytes, b: Bytes, c: Bytes) -> tuple[Bytes, Bytes, Bytes]:
    """Least, middle and greatest, value by value."""
    low, high = np.minimum(a, b), np.maximum(a, b)
    return np.minimum(low, c), np.maximum(low, np.minimum(high, c)), np.maximum(high, c)


def median(pixels: Bytes) -> Bytes:
    """Of each value and its eight neighbours; the edge repeats itself.

    The median of nine numbers in three ordered columns is the median of the greatest of the least, the median of the middle and the
    least of the greatest: a twentieth of the time of a filter that sorts.
    """
    whole = np.pad(pixels, ((1, 1), (1, 1), (0, 0)), "edge")
    low, middle, high = ([a[:, :-2], a[:, 1:-1], a[:, 2:]] for a in ordered(whole[:-2], whole[1:-1], whole[2:]))
    return ordered(np.maximum.reduce(low), ordered(*middle)[1], np.minimum.reduce(high))[1]


def backdrop(picture: Array) -> Array:
    """The background everywhere: from the colour of the top edge to that of the bottom edge."""
    top, bottom = (np.median(rows.reshape(-1, 3), axis=0) for rows in (picture[:3], picture[-3:]))
    t = (GRID_Y / SIDE)[..., None]
    return (top * (1 - t) + bottom * t).astype(np.float32)


def is_pattern(picture: Array, behind: Array) -> Mask:
    """Pixels of the other tone of a patterned background: colourless and light, on a border that is so too."""
    if not bool(plain_gray(behind).all()):
        return np.zeros(picture.shape[:2], dtype=bool)
    return plain_gray(picture)


def plain_gray(picture: Array) -> Mask:
    spread = picture.max(-1) - picture.min(-1)
    out: Mask = (spread < 40) & (picture.mean(-1) > 185)
    return out


def look(picture: Array, behind: Array, rough: Mask) -> tuple[int, Seen] | None:
    """Area and description of the thing that covers `rough`, or None where it is too small."""
    if rough.sum() < LEAST_AREA:
        return None
    core = ndimage.binary_erosion(rough, iterations=2)
    rgb = np.median(picture[core if core.any() else rough], axis=0)
    near = ndimage.binary_dilation(rough, iterations=2)
    mask = near & (np.linalg.norm(picture - rgb, axis=-1) < np.linalg.norm(picture - behind, axis=-1))
    area = int(mask.sum())
    if area < LEAST_AREA:
        return None
    y, x = ndimage.center_of_mass(mask)
    shape, overlap = best_shape(mask, x + 0.5, y + 0.5, area)
    radius = RADIUS * (area / model(shape)[2]) ** 0.5
    dx, dy = x + 0.5 - SIDE / 2, y + 0.5 - SIDE / 2
    down = "top" if dy < -OFF_CENTRE else "bottom" if dy > OFF_CENTRE else ""
    across = "left" if dx < -OFF_CENTRE else "right" if dx > OFF_CENTRE else ""
    place = f"{down} {across}".strip() or "centre"
    size = "small" if radius < SMALL else "medium" if radius < MEDIUM else "large"
    return area, Seen(nearest_colour(rgb), shape if overlap >= LEAST_OVERLAP else "", place, size, x, y, overlap)


@functools.cache
def model(shape: str) -> tuple[float, float, float]:
    """Centre of mass relative to the shape's own centre, and area, at RADIUS."""
    mask = distance(shape, GRID_X - SIDE / 2, GRID_Y - SIDE / 2, RADIUS) < 0
    y, x = ndimage.center_of_mass(mask)
    return x + 0.5 - SIDE / 2, y + 0.5 - SIDE / 2, float(mask.sum())


def best_shape(mask: Mask, x: float, y: float, area: int) -> tuple[str, float]:
    """The shape that overlaps most when drawn with the same area and centre of mass, and its intersection over union."""
    part = ndimage.find_objects(ndimage.binary_dilation(mask, iterations=8).astype(np.int8))[0]
    inside, xs, ys = mask[part], GRID_X[part], GRID_Y[part]
    best = ("", -1.0)
    for shape in SHAPES:
        dx, dy, whole = model(shape)
        scale = (area / whole) ** 0.5
        drawn = distance(shape, xs - np.float32(x - dx * scale), ys - np.float32(y - dy * scale), RADIUS * scale) < 0
        overlap = float((drawn & inside).sum() / max(1, (drawn | inside).sum()))
        if overlap > best[1]:
            best = (shape, overlap)
    return best


def nearest_colour(rgb: Array) -> str:
    """The palette's colour nearest in hue, lightness and saturation."""
    wanted = opponent(np.asarray(rgb, dtype=np.float32))
    return min(COLOURS, key=lambda name: float(np.linalg.norm(wanted - opponent(np.array(COLOURS[name], dtype=np.float32)))))


def opponent(rgb: Array) -> Array:
    """Lightness (counted half), red against green and yellow against blue."""
    r, g, b = rgb
    return np.array([0.5 * (r + g + b) / 3, r - g, 0.5 * (r + g) - b], dtype=np.float32)

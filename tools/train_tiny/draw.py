"""The pictures the tiny model learns from: flat, anti-aliased shapes on plain, graded and patterned backgrounds, drawn with numpy only.

Every shape is a signed distance in pixels (negative inside); coverage is the distance clamped over one pixel, so edges are as crisp as
anti-aliasing allows.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
SIDE = 128
"""Width and height of a picture."""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 38, 42),
    "orange": (250, 140, 22),
    "yellow": (250, 216, 38),
    "green": (36, 160, 70),
    "cyan": (32, 196, 214),
    "blue": (38, 82, 214),
    "purple": (128, 52, 180),
    "pink": (246, 128, 184),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "ring", "cross")
SIZES: dict[str, tuple[float, float]] = {"small": (16.0, 19.0), "medium": (26.0, 30.0), "large": (40.0, 45.0)}
"""Radius of the circle of the same weight, in pixels: lowest and highest."""

PLACES: dict[str, tuple[int, int]] = {
    "left": (-1, 0),
    "right": (1, 0),
    "top": (0, -1),
    "bottom": (0, 1),
    "centre": (0, 0),
    "top left": (-1, -1),
    "top right": (1, -1),
    "bottom left": (-1, 1),
    "bottom right": (1, 1),
}

PLAIN: dict[str, tuple[int, int, int]] = {
    "white": (250, 250, 250),
    "black": (16, 16, 18),
    "gray": (128, 130, 134),
    "cream": (248, 238, 212),
    "navy": (18, 28, 70),
    "light blue": (176, 212, 244),
    "light green": (188, 230, 184),
    **COLOURS,
}
GRADED: dict[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "sunset": ((70, 44, 120), (255, 176, 110)),
    "sky": ((90, 160, 236), (232, 244, 252)),
    "night": ((6, 8, 26), (44, 52, 112)),
}
PATTERNED = ("striped", "dotted", "checkered")
BACKGROUNDS = (*PLAIN, *GRADED, *PATTERNED)

RELATIONS: dict[str, tuple[int, int]] = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}


@dataclass(frozen=True)
class Thing:
    """One drawn object: `x`, `y` its centre and `radius` its size, in pixels."""

    colour: str
    shape: str
    size: str
    place: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Picture:
    """What is drawn: one thing, or two with `relation` (the first is `relation` the second)."""

    background: str
    things: tuple[Thing, ...]
    relation: str = ""
    seed: int = field(default=0, compare=False)


def grid() -> tuple[Array, Array]:
    """x and y of every pixel centre."""
    axis = np.arange(SIDE, dtype=np.float32) + np.float32(0.5)
    x, y = np.meshgrid(axis, axis)
    return x, y


GRID_X, GRID_Y = grid()


def polygon(x: Array, y: Array, corners: Array) -> Array:
    """Signed distance to a simple polygon with corners [n, 2]."""
    distance = np.full(x.shape, np.inf, dtype=np.float32)
    inside = np.zeros(x.shape, dtype=bool)
    for i in range(len(corners)):
        (ax, ay), (bx, by) = corners[i - 1], corners[i]
        ex, ey = bx - ax, by - ay
        wx, wy = x - ax, y - ay
        t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
        distance = np.minimum(distance, (wx - ex * t) ** 2 + (wy - ey * t) ** 2)
        if ay != by:
            inside ^= ((ay > y) != (by > y)) & (x < ax + (y - ay) * ex / ey)
    out: Array = np.where(inside, -1, 1).astype(np.float32) * np.sqrt(distance)
    return out


def heart_outline(count: int = 48) -> Array:
    """The usual parametric heart, scaled to about [-1, 1]."""
    t = np.linspace(0, 2 * np.pi, count, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x / 16.5, -(y + 2.6) / 16.5], 1).astype(np.float32)


def star_outline() -> Array:
    """Five points, one up."""
    angles = -np.pi / 2 + np.arange(10) * np.pi / 5
    reach = np.where(np.arange(10) % 2 == 0, 1.15, 0.48)
    return np.stack([np.cos(angles) * reach, np.sin(angles) * reach + 0.06], 1).astype(np.float32)


OUTLINES: dict[str, Array] = {
    "triangle": np.array([(0, -1.0), (1.1, 0.86), (-1.1, 0.86)], dtype=np.float32),
    "diamond": np.array([(0, -1.2), (0.85, 0), (0, 1.2), (-0.85, 0)], dtype=np.float32),
    "star": star_outline(),
    "heart": heart_outline(),
    "cross": np.array(
        [
            (-0.34, -1),
            (0.34, -1),
            (0.34, -0.34),
            (1, -0.34),
            (1, 0.34),
            (0.34, 0.34),
            (0.34, 1),
            (-0.34, 1),
            (-0.34, 0.34),
            (-1, 0.34),
            (-1, -0.34),
            (-0.34, -0.34),
        ],
        dtype=np.float32,
    ),
}


def distance(shape: str, x: Array, y: Array, radius: float) -> Array:
    """Signed distance in pixels from (x, y), relative to the object's centre, to the outline of `shape`."""
    if shape == "circle":
        out: Array = np.hypot(x, y) - np.float32(radius)
    elif shape == "ring":
        out = np.abs(np.hypot(x, y) - np.float32(radius * 0.78)) - np.float32(radius * 0.24)
    elif shape == "square":
        half = np.float32(radius * 0.88)
        dx, dy = np.abs(x) - half, np.abs(y) - half
        out = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0)) + np.minimum(np.maximum(dx, dy), 0)
    else:
        out = polygon(x, y, OUTLINES[shape] * np.float32(radius))
    return out


def background(name: str) -> Array:
    """[SIDE, SIDE, 3] in 0..255."""
    if name in PLAIN:
        return np.broadcast_to(np.array(PLAIN[name], dtype=np.float32), (SIDE, SIDE, 3)).copy()
    if name in GRADED:
        top, bottom = (np.array(c, dtype=np.float32) for c in GRADED[name])
        t = (GRID_Y / SIDE)[..., None]
        return (top * (1 - t) + bottom * t).astype(np.float32)
    light, dark = np.array((246, 246, 244), dtype=np.float32), np.array((206, 208, 212), dtype=np.float32)
    if name == "striped":
        where = np.clip(np.abs((GRID_X % 32) - 16) - 8 + 0.5, 0, 1)
    elif name == "checkered":
        where = (((GRID_X // 16) + (GRID_Y // 16)) % 2).astype(np.float32)
    else:
        where = np.clip(np.hypot((GRID_X % 16) - 8, (GRID_Y % 16) - 8) - 3.5 + 0.5, 0, 1)
    return (light * where[..., None] + dark * (1 - where[..., None])).astype(np.float32)


def paint(canvas: Array, shape: str, rgb: tuple[int, int, int], x: float, y: float, radius: float) -> None:
    """Draw one shape onto `canvas` [SIDE, SIDE, 3], in place."""
    reach = radius * 1.3 + 2
    x0, x1 = max(0, int(x - reach)), min(SIDE, int(x + reach) + 1)
    y0, y1 = max(0, int(y - reach)), min(SIDE, int(y + reach) + 1)
    if x0 >= x1 or y0 >= y1:
        return
    d = distance(shape, GRID_X[y0:y1, x0:x1] - np.float32(x), GRID_Y[y0:y1, x0:x1] - np.float32(y), radius)
    cover = np.clip(0.5 - d, 0, 1)[..., None]
    part = canvas[y0:y1, x0:x1]
    part += cover * (np.array(rgb, dtype=np.float32) - part)


def draw(picture: Picture) -> NDArray[np.uint8]:
    """[SIDE, SIDE, 3] uint8."""
    canvas = background(picture.background)
    for thing in picture.things:
        paint(canvas, thing.shape, COLOURS[thing.colour], thing.x, thing.y, thing.radius)
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)


def is_held_out(picture: Picture) -> bool:
    """True for the tenth of all combinations of (colour, shape, size, place, background) that training never sees."""
    words = "|".join(f"{t.colour} {t.shape} {t.size} {t.place}" for t in picture.things) + "|" + picture.background + picture.relation
    return hashlib.sha256(words.encode()).digest()[0] < 26


CLASHES: dict[str, tuple[str, ...]] = {
    "cream": ("yellow",),
    "light blue": ("cyan",),
    "navy": ("blue", "purple"),
    "sunset": ("orange", "pink", "purple"),
    "sky": ("cyan", "blue"),
    "yellow": ("orange",),
    "orange": ("yellow", "red"),
    "red": ("orange",),
    "purple": ("blue",),
    "blue": ("purple",),
}
"""Background -> colours of things that would hardly show on it."""


def clashes(colour: str, name: str) -> bool:
    """True where a thing of `colour` would hardly show on the background."""
    return colour == name or colour in CLASHES.get(name, ())


def spot(rng: np.random.Generator, place: str, radius: float) -> tuple[float, float]:
    """A centre for an object of this radius in this place: fully inside the picture, with a little play."""
    dx, dy = PLACES[place]
    room = SIDE / 2 - radius * 1.18 - 2
    away = max(0.0, min(room - 1.5, 36.0))
    jitter = rng.uniform(-2.0, 2.0, 2)
    return SIDE / 2 + dx * away + jitter[0], SIDE / 2 + dy * away + jitter[1]


def one(rng: np.random.Generator, name: str) -> Picture:
    """A picture of a single thing on background `name`."""
    colour = str(rng.choice([c for c in COLOURS if not clashes(c, name)]))
    shape = str(rng.choice(SHAPES))
    size = str(rng.choice(list(SIZES), p=[0.3, 0.4, 0.3]))
    radius = float(rng.uniform(*SIZES[size]))
    places = ["centre"] if size == "large" else list(PLACES)
    odds = (
        [1.0] if size == "large" else [0.13 if p in ("left", "right", "top", "bottom") else 0.24 if p == "centre" else 0.06 for p in places]
    )
    place = str(rng.choice(places, p=odds))
    x, y = spot(rng, place, radius)
    return Picture(name, (Thing(colour, shape, size, place, x, y, radius),))


def two(rng: np.random.Generator, name: str) -> Picture:
    """A picture of two different things, one beside or above the other."""
    colours = [str(c) for c in rng.choice([c for c in COLOURS if not clashes(c, name)], 2, replace=False)]
    shapes = [str(rng.choice(SHAPES)) for _ in range(2)]
    relation = str(rng.choice(list(RELATIONS)))
    dx, dy = RELATIONS[relation]
    things = []
    for colour, shape, sign in zip(colours, shapes, (1, -1), strict=True):
        radius = float(rng.uniform(20, 24))
        jitter = rng.uniform(-2, 2, 2)
        x, y = SIDE / 2 + sign * dx * 31 + jitter[0], SIDE / 2 + sign * dy * 31 + jitter[1]
        things.append(Thing(colour, shape, "", "", float(x), float(y), radius))
    return Picture(name, tuple(things), relation)


def imagine(rng: np.random.Generator, pairs: float = 0.25, held_out: bool = False) -> Picture:
    """A random picture; `pairs` is the share of pictures with two things. Held-out combinations only when asked for: then only those."""
    while True:
        odds = np.array([2.5 if b in ("white", "black", "blue", "gray") else 1.0 for b in BACKGROUNDS])
        name = str(rng.choice(BACKGROUNDS, p=odds / odds.sum()))
        picture = two(rng, name) if rng.random() < pairs else one(rng, name)
        if is_held_out(picture) == held_out:
            return picture


def scribble(rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of anything: many shapes in any colour over a smooth wash; keeps the autoencoder general."""
    corners = rng.uniform(0, 255, (2, 2, 3)).astype(np.float32)
    u, v = (GRID_X / SIDE)[..., None], (GRID_Y / SIDE)[..., None]
    canvas: Array = (corners[0, 0] * (1 - u) + corners[0, 1] * u) * (1 - v) + (corners[1, 0] * (1 - u) + corners[1, 1] * u) * v
    for _ in range(int(rng.integers(1, 9))):
        r, g, b = (int(c) for c in rng.integers(0, 256, 3))
        x, y = rng.uniform(0, SIDE, 2)
        paint(canvas, str(rng.choice(SHAPES)), (r, g, b), float(x), float(y), float(rng.uniform(6, 50)))
    return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)

"""Draw `input/example.png`, the picture that ready-made graphs ask for: `python -m tools.draw_example`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIDE = 512
FINE = 4  # it is drawn this many times as large, so that edges come out smooth
SKY = np.array([58, 110, 180.0]), np.array([250, 214, 165.0])
SHORE = 410
RIDGES = (  # height, swings, waves across the picture, colour
    (300, (40, 18, 7), (1.3, 3.1, 7), (120, 132, 168)),
    (345, (26, 14, 6), (1.9, 4.3, 9), (78, 98, 120)),
    (385, (14, 8), (2.3, 6), (52, 84, 72)),
)
TREES = ((60, 412, 110), (238, 410, 84), (300, 414, 130), (345, 412, 96), (440, 416, 150), (480, 414, 112), (20, 414, 80))
"""Where each stands, its foot, its height."""
SUN = (330, 70, 410, 150)


def main() -> None:
    path = Path(__file__).parents[1] / "input" / "example.png"
    path.parent.mkdir(exist_ok=True)
    drawn().save(path, optimize=True)


def drawn() -> Image.Image:
    """A house by a lake. The sun is transparent (its colours are kept): what inpainting graphs take for the mask."""
    side, dice = SIDE * FINE, np.random.default_rng(7)
    down = np.linspace(0, 1, side)[:, None, None]
    sky = np.broadcast_to(SKY[0] * (1 - down) + SKY[1] * down, (side, side, 3))
    image = Image.fromarray(sky.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse(_fine(*SUN), fill=(255, 244, 214))
    across = np.linspace(0, 1, side)
    for base, swings, waves, colour in RIDGES:
        height = np.full(side, float(base))
        for swing, wave, phase in zip(swings, waves, dice.random(len(waves)), strict=True):
            height -= swing * np.sin(2 * np.pi * (wave * across + phase))
        outline = [(float(x), float(height[x]) * FINE) for x in range(0, side, FINE)]
        draw.polygon([(0.0, float(side)), *outline, (float(side), float(side))], fill=colour)
    shore = SHORE * FINE
    mirrored = image.crop((0, 2 * shore - side, side, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image.paste(Image.blend(mirrored, Image.new("RGB", mirrored.size, (70, 110, 140)), 0.35), (0, shore))
    for _ in range(22):
        x, y, length = (float(dice.integers(*span)) for span in ((0, 450), (SHORE + 6, SIDE - 8), (20, 90)))
        draw.line(_fine(x, y, x + length, y), fill=(196, 214, 220), width=FINE)
    _house(draw, 110, 350)
    for foot_x, foot, tall in TREES:
        _tree(draw, foot_x, foot, tall)
    image = image.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    alpha = Image.new("L", image.size, 255)
    ImageDraw.Draw(alpha).ellipse((SUN[0] - 4, SUN[1] - 4, SUN[2] + 4, SUN[3] + 4), fill=0)
    image.putalpha(alpha)
    return image


def _house(draw: ImageDraw.ImageDraw, x: int, y: int) -> None:
    draw.rectangle(_fine(x + 64, y - 42, x + 76, y - 14), fill=(112, 70, 66))
    draw.rectangle(_fine(x, y, x + 86, y + 58), fill=(196, 92, 70))
    draw.polygon(_fine(x - 10, y, x + 43, y - 40, x + 96, y), fill=(92, 58, 56))
    draw.rectangle(_fine(x + 34, y + 24, x + 54, y + 58), fill=(70, 44, 44))
    for window in (8, 62):
        draw.rectangle(_fine(x + window, y + 14, x + window + 18, y + 32), fill=(255, 232, 160))


def _tree(draw: ImageDraw.ImageDraw, x: int, foot: int, height: int) -> None:
    draw.rectangle(_fine(x - 3, foot - 14, x + 3, foot), fill=(80, 58, 46))
    for k in range(3):
        half, base = height * (0.34 - 0.07 * k), foot - 14 - k * height * 0.24
        draw.polygon(_fine(x - half, base, x + half, base, x, base - height * 0.46), fill=(30 + 8 * k, 74 + 10 * k, 62 + 6 * k))


def _fine(*numbers: float) -> list[float]:
    return [float(n) * FINE for n in numbers]


if __name__ == "__main__":
    main()

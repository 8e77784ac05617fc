"""What saving a picture as PNG costs: levels of compression on a 1024 px picture like those of diffusion models, and a batch of four.

`python -m benchmarks.png`. The picture is smooth with grain: neither noise, which nothing compresses, nor a drawing.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image, features

from backend.storage.images import save_png
from benchmarks.table import Row, report
from nodes.image_files import FAST
from nodes.saving import each

SIDE = 1024
LEVELS = (1, 2, 4, 6, 9)


def picture() -> Image.Image:
    y, x = np.mgrid[0:SIDE, 0:SIDE] / SIDE
    smooth = np.stack([np.sin(9 * x + 3 * y), np.cos(21 * x * y), np.sin(5 * (x - y))], -1) * 100 + 128
    grain = np.random.default_rng(0).normal(0, 3, smooth.shape)
    return Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))


def least(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of some tries; others only add to it."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)


def encoded(image: Image.Image, level: int) -> int:
    """Bytes of the file."""
    out = io.BytesIO()
    save_png(out, image, None, level)
    return out.tell()


def main() -> None:
    image = picture()
    library = "zlib-ng" if features.check_feature("zlib_ng") else "zlib"
    for level in LEVELS:
        seconds, size = least(lambda level=level: encoded(image, level)), encoded(image, level)  # type: ignore[misc]
        used = ", used" if level == FAST else ""
        report([Row(f"PNG of {SIDE} px, level {level}{used}", f"{seconds * 1000:.0f} ms, {size / 1e6:.2f} MB ({library})")])
    together = least(lambda: list(each(lambda i: encoded(image, FAST), range(4))), 3)
    report([Row("four of them, several at a time", f"{together * 1000:.0f} ms")])


if __name__ == "__main__":
    main()

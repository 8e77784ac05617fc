"""Shapes."""

from __future__ import annotations

from typing import Any


def append_dims(x: Any, target_dims: int) -> Any:
    """x with dimensions of length one added at its end."""
    return x[(...,) + (None,) * (target_dims - x.ndim)]


class FolderOfImages:
    """The pictures of a folder."""

    IMG_EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp"})

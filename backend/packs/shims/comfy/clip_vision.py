"""`comfy.clip_vision`: the shape of what a picture encoder gives, and how pictures are prepared for it."""

from __future__ import annotations

from typing import Any

import torch

from backend.imaging.resize import resize


class Output:
    """Attributes by name, also with []."""

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, item: Any) -> None:
        setattr(self, key, item)


def clip_preprocess(
    image: Any,
    size: int = 224,
    mean: Any = (0.48145466, 0.4578275, 0.40821073),
    std: Any = (0.26862954, 0.26130258, 0.27577711),
    crop: bool = True,
) -> Any:
    """[B, H, W, C] in 0..1 -> [B, 3, size, size], normalised."""
    x = image[..., :3].movedim(-1, 1)
    if x.shape[2:] != (size, size):
        if crop:
            scale = size / min(x.shape[2], x.shape[3])
            x = resize(x, round(scale * x.shape[3]), round(scale * x.shape[2]), "bicubic")
            top, left = (x.shape[2] - size) // 2, (x.shape[3] - size) // 2
            x = x[:, :, top : top + size, left : left + size]
        else:
            x = resize(x, size, size, "bicubic")
    x = torch.clip(255.0 * x, 0, 255).round() / 255.0
    return (x - torch.tensor(mean).view(3, 1, 1).to(x)) / torch.tensor(std).view(3, 1, 1).to(x)


class ClipVisionModel:
    """A picture encoder; loaded by the node of the application."""

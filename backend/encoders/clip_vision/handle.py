"""What travels on a CLIP_VISION wire, and what it makes of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from backend.encoders.clip_vision.net import Seen, VisionSizes
from backend.memory.pool import Loadable, Pool

MEAN, DEVIATION = VisionSizes().mean, VisionSizes().deviation
"""Of the colours CLIP was trained on."""


@dataclass(frozen=True)
class VisionOutput:
    """Encoded pictures, float32 on the CPU; the names are the ecosystem's."""

    image_embeds: Tensor | None
    """[B, projection]"""
    last_hidden_state: Tensor
    """[B, positions, width], not normed."""
    penultimate_hidden_states: Tensor
    all_hidden_states: Tensor | None = None
    """[B, layers, positions, width] after each layer; SigLIP's only."""


@dataclass(frozen=True)
class VisionHandle:
    """One image encoder."""

    loadable: Loadable
    sizes: VisionSizes

    @torch.no_grad()
    def encode_image(self, image: Tensor, pool: Pool, crop: bool = True) -> VisionOutput:
        """image [B, H, W, 3+] in 0..1; scaled to the encoder's square, its short side with `crop`, else squeezed."""
        pixels = prepared(image, self.sizes.side, crop, self.sizes.mean, self.sizes.deviation)
        with pool.lease(self.loadable, self.working(len(pixels))) as net:
            seen: Seen = net(pixels.to(pool.device, self.loadable.dtype))
        embeds = None if seen.embeds is None else seen.embeds.float().cpu()
        every = None if seen.every is None else seen.every.float().cpu()
        return VisionOutput(embeds, seen.last.float().cpu(), seen.penultimate.float().cpu(), every)

    def working(self, count: int) -> int:
        """Bytes of activations at the widest point."""
        s = self.sizes
        return count * s.positions * (s.width * 6 + max(2 * s.mlp, s.heads * s.positions * 2)) * 4


def prepared(image: Tensor, side: int, crop: bool = True, mean: Sequence[float] = MEAN, deviation: Sequence[float] = DEVIATION) -> Tensor:
    """[B, H, W, 3+] in 0..1 -> [B, 3, side, side]: bicubic, rounded to whole colour values as if it came from a file, normalised."""
    x = image[..., :3].movedim(-1, 1).float()
    height, width = x.shape[2:]
    if (height, width) != (side, side):
        scale = side / min(height, width)
        size = (round(scale * height), round(scale * width)) if crop else (side, side)
        x = F.interpolate(x, size=size, mode="bicubic", antialias=True)
        top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
        x = x[:, :, top : top + side, left : left + side]
    x = (x * 255).clamp(0, 255).round() / 255
    centre, spread = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (mean, deviation))
    return (x - centre) / spread

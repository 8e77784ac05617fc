"""Convolutions that look where the picture tells them to (deformable, modulated; Zhu et al. 2018, arXiv:1811.11168)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.layers import Conv2d


class DeformableConv2d(nn.Module):
    """A convolution of [B, C, H, W] each of whose taps is moved, and weighted from 0 to 2, by place."""

    def __init__(self, cin: int, cout: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.offset_conv = Conv2d(cin, 2 * kernel**2, kernel, padding=kernel // 2)
        self.modulator_conv = Conv2d(cin, kernel**2, kernel, padding=kernel // 2)
        self.regular_conv = Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.regular_conv.get("weight", x)
        return deformed(x, self.offset_conv(x), 2 * torch.sigmoid(self.modulator_conv(x)), weights)


def deformed(x: Tensor, offsets: Tensor, modulation: Tensor, weights: Tensor) -> Tensor:
    """x [B, C, H, W], offsets [B, 2 k², H, W] (down and across in pixels, tap by tap), modulation [B, k², H, W], weights [out, C, k, k]
    -> [B, out, H, W]; outside is zero.

    One tap after the other, so that no more than a map for one is in memory.
    """
    height, width = x.shape[2:]
    kernel = weights.shape[-1]
    # positions of a large map need more digits than 16 bits have
    down, across = torch.arange(height, device=x.device).float()[:, None], torch.arange(width, device=x.device).float()
    out: Tensor | None = None
    for tap in range(kernel**2):
        i, j = tap // kernel, tap % kernel
        y = down + (i - kernel // 2) + offsets[:, 2 * tap].float()
        z = across + (j - kernel // 2) + offsets[:, 2 * tap + 1].float()
        grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        seen = F.grid_sample(x.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False).to(x.dtype)
        part = F.conv2d(seen * modulation[:, tap : tap + 1], weights[:, :, i : i + 1, j : j + 1])
        out = part if out is None else out + part
    assert out is not None
    return out

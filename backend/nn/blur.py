"""The blur of four cells under which nets halve and double maps without aliasing (Zhang 2019, arXiv:1904.11486)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def blur_kernel(like: Tensor) -> Tensor:
    """[C, 1, 4, 4] for a convolution of maps `like` [B, C, H, W], each channel by itself: 1, 3, 3, 1 along either axis; its sum is 1.

    Made where the maps lie, so that nothing has to be brought there.
    """
    line = F.pad(torch.full((2,), 3 / 8, dtype=like.dtype, device=like.device), (1, 1), value=1 / 8)
    return torch.outer(line, line).expand(like.shape[1], 1, -1, -1)

"""Adaptive layer norm: numbers that the time is made into scale and shift normalised tokens (adaLN, Peebles and Xie 2023, section 3.2)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float = 1e-6) -> Tensor:
    """x [B, T, width] with zero mean and unit deviation along its width, times 1 + scale, plus shift, each [B, 1, width].

    For a single sample they are what a kernel for layer norm takes as its weights: one pass over the tokens instead of three.
    """
    width, factor = x.shape[-1:], 1 + scale
    if factor.numel() == shift.numel() == x.shape[-1]:
        return F.layer_norm(x, width, factor.flatten(), shift.flatten(), eps)
    return torch.addcmul(shift, F.layer_norm(x, width, eps=eps), factor)

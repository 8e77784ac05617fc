"""Batch normalisation by what was counted in training (Ioffe & Szegedy 2015, arXiv:1502.03167)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.layers import Layer


class BatchNorm2d(Layer):
    """[B, C, H, W] by the mean and variance of each channel in the training set."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias, self.running_mean, self.running_var = (nn.Parameter(torch.empty(channels)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        mean, variance, weight, bias = (self.get(name, x) for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, variance, weight, bias, eps=self.eps)

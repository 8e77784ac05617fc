"""ViTPose (Xu et al. 2022, arXiv:2204.12484) and ViTPose++ (arXiv:2212.04246) with the experts of one data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.vit import Block
from backend.nn.layers import Conv2d, Layer, LayerNorm

PATCH = 16


@dataclass(frozen=True)
class PoseSizes:
    """What differs between the published nets."""

    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp: int = 3072
    grid: tuple[int, int] = (16, 12)
    """Rows and columns of patches; the net sees pictures of this one size."""
    expert: int = 0
    """How many channels of each block belong to the data set; 0 where the net was trained on one."""
    hidden: int = 0
    """Channels of the head's two doublings; 0 for the simple head, which enlarges without learnt weights."""
    joints: int = 17

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of pixels the net sees."""
        return self.grid[0] * PATCH, self.grid[1] * PATCH


class PoseNet(Layer):
    """Pictures of one person each [B, 3, H, W], normalised -> heat maps of the joints [B, joints, H / 4, W / 4]."""

    def __init__(self, sizes: PoseSizes) -> None:
        super().__init__()
        self.grid = sizes.grid
        self.patches = Conv2d(3, sizes.width, PATCH, PATCH, 2)
        self.position_embeddings = nn.Parameter(torch.empty(1, sizes.grid[0] * sizes.grid[1] + 1, sizes.width))
        self.layers = nn.ModuleList(Block(sizes.width, sizes.heads, sizes.mlp, expert=sizes.expert) for _ in range(sizes.layers))
        self.norm = LayerNorm(sizes.width, 1e-6)
        self.head = LearntHead(sizes) if sizes.hidden else SimpleHead(sizes)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        table = self.get("position_embeddings", x)
        x = x + table[:, 1:] + table[:, :1]
        for layer in self.layers:
            x = layer(x)
        heat: Tensor = self.head(self.norm(x).transpose(1, 2).reshape(len(x), -1, *self.grid))
        return heat


class SimpleHead(nn.Module):
    """Enlarged four times, and looked at by one convolution."""

    def __init__(self, sizes: PoseSizes) -> None:
        super().__init__()
        self.conv = Conv2d(sizes.width, sizes.joints, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        heat: Tensor = self.conv(F.interpolate(F.relu(x), scale_factor=4, mode="bilinear"))
        return heat


class LearntHead(nn.Module):
    """Doubled twice by learnt weights."""

    def __init__(self, sizes: PoseSizes) -> None:
        super().__init__()
        self.doubling1, self.doubling2 = Doubling(sizes.width, sizes.hidden), Doubling(sizes.hidden, sizes.hidden)
        self.conv = Conv2d(sizes.hidden, sizes.joints, 1)

    def forward(self, x: Tensor) -> Tensor:
        heat: Tensor = self.conv(self.doubling2(self.doubling1(x)))
        return heat


class Doubling(Layer):
    """A transposed convolution, normalised by what was counted in training, rectified."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(cin, cout, 4, 4))
        self.weight, self.bias, self.mean, self.variance = (nn.Parameter(torch.empty(cout)) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv_transpose2d(x, self.get("kernel", x), stride=2, padding=1)
        mean, variance, weight, bias = (self.get(name, x) for name in ("mean", "variance", "weight", "bias"))
        return F.relu(F.batch_norm(x, mean, variance, weight, bias))

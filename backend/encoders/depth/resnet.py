"""The convolutions before the transformer of DPT-Hybrid: a residual net with standardised weights (Kolesnikov et al. 2020,
arXiv:1912.11370; Qiao et al. 2019, arXiv:1903.10520), whose grids are those of TensorFlow's `same` padding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.layers import GroupNorm, Layer

GROUPS = 32


@dataclass(frozen=True)
class StageSizes:
    """One stage: channels inside its blocks and after them, and how many blocks."""

    inner: int
    outer: int
    blocks: int


class ResNet(nn.Module):
    """Pictures [B, 3, H, W] -> what each stage makes of them, at 1/4, 1/8, 1/16 of the side."""

    def __init__(self, stem: int, stages: tuple[StageSizes, ...]) -> None:
        super().__init__()
        self.stem = Standardised(3, stem, 7, 2)
        self.norm = GroupNorm(GROUPS, stem)
        before = [stem, *(stage.outer for stage in stages)]
        self.stages = nn.ModuleList(
            nn.ModuleList(
                Bottleneck(stage.outer if j else before[i], stage, stride=1 if i == 0 or j else 2, first=not j) for j in range(stage.blocks)
            )
            for i, stage in enumerate(stages)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        x = F.relu(self.norm(self.stem(pixels)))
        x = F.max_pool2d(same(x, 3, 2), 3, 2)
        found = []
        for stage in self.stages:
            for block in stage:  # type: ignore[attr-defined]
                x = block(x)
            found.append(x)
        return found


class Bottleneck(nn.Module):
    """Narrow, look around, widen again, and add; the first of a stage changes the shape of what it adds to as well."""

    def __init__(self, channels: int, sizes: StageSizes, stride: int, first: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = Standardised(channels, sizes.inner, 1), GroupNorm(GROUPS, sizes.inner)
        self.conv2, self.norm2 = Standardised(sizes.inner, sizes.inner, 3, stride), GroupNorm(GROUPS, sizes.inner)
        self.conv3, self.norm3 = Standardised(sizes.inner, sizes.outer, 1), GroupNorm(GROUPS, sizes.outer)
        self.shortcut = nn.Sequential(Standardised(channels, sizes.outer, 1, stride), GroupNorm(GROUPS, sizes.outer)) if first else None

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm1(self.conv1(x)))
        h = F.relu(self.norm2(self.conv2(h)))
        h = self.norm3(self.conv3(h))
        return F.relu(h + (x if self.shortcut is None else self.shortcut(x)))


class Standardised(Layer):
    """A convolution whose kernels are brought to mean 0 and variance 1 first."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride
        self.weight = nn.Parameter(torch.empty(cout, cin, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.get("weight", x).float()
        variance, mean = torch.var_mean(weight, (1, 2, 3), correction=0, keepdim=True)
        weight = (weight - mean) * (variance + 1e-8).rsqrt()
        return F.conv2d(same(x, self.kernel, self.stride), weight.to(x.dtype), stride=self.stride)


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Zeros around [B, C, H, W] so that a window every `stride` gives ceil(side / stride), the odd one after the end."""
    missing = [max((-(-n // stride) - 1) * stride + kernel - n, 0) for n in x.shape[2:]]
    rows, columns = missing
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)) if rows or columns else x

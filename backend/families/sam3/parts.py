"""What the halves of SAM 3 are built of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Layer, LayerNorm, Linear

TEMPERATURE = 10000.0
FULL_TURN = 2 * math.pi


class Perceptron(nn.Module):
    """Linear layers with ReLU between them; `widths` from the first layer's input to the last one's output."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = layer(x if i == 0 else F.relu(x))
        return x


class MultiheadAttention(Layer):
    """Attention whose projections of queries, keys and values are stored as one matrix [3 width, width]."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """q [B, T, width], k and v [B, S, width] -> [B, T, width]; `mask` as in nn.attention."""
        weights = self.get("in_proj_weight", q).chunk(3)
        biases = self.get("in_proj_bias", q).chunk(3)
        q, k, v = (F.linear(x, weight, bias) for x, weight, bias in zip((q, k, v), weights, biases, strict=True))
        out: Tensor = self.out_proj(attention(q, k, v, self.heads, mask))
        return out


class ConvTranspose2d(Layer):
    """Doubles the sides of [B, cin, H, W] by kernels of 2 x 2; weight [cin, cout, 2, 2]."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(cin, cout, 2, 2))
        self.bias = nn.Parameter(torch.empty(cout))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv_transpose2d(x, self.get("weight", x), self.get("bias", x), stride=2)


class LayerNorm2d(LayerNorm):
    """Normalises the channels of [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def waves(values: Tensor, width: int) -> Tensor:
    """values [...] in 0..1 -> [..., width], float32: sines and cosines of full turns, by turns (Vaswani et al. 2017)."""
    i = torch.arange(width, dtype=torch.float32, device=values.device)
    turned = (values.float() * FULL_TURN).unsqueeze(-1) / TEMPERATURE ** (2 * (i // 2) / width)
    return torch.stack([turned[..., 0::2].sin(), turned[..., 1::2].cos()], dim=-1).flatten(-2)


def places(rows: int, columns: int, width: int, device: torch.device) -> Tensor:
    """Where the cells of a grid are: [1, rows * columns, width], half of it for the row and half for the column, float32."""
    y = waves(torch.arange(1, rows + 1, device=device) / (rows + 1e-6), width // 2)
    x = waves(torch.arange(1, columns + 1, device=device) / (columns + 1e-6), width // 2)
    both = [y[:, None].expand(-1, columns, -1), x[None].expand(rows, -1, -1)]
    return torch.cat(both, dim=-1).reshape(1, rows * columns, width)


def corners(boxes: Tensor) -> Tensor:
    """Boxes [..., 4] of centre, width and height -> left, top, right, bottom."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]."""
    return x.flatten(2).transpose(1, 2)


def picture(x: Tensor, like: Tensor) -> Tensor:
    """[B, H * W, C] -> [B, C, H, W] with the sides of `like`."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, *like.shape[-2:])

"""Transformer blocks whose query, key and value weights lie in one tensor, as CLIP's code and its descendants store them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Layer, LayerNorm, Linear


class JointBlock(nn.Module):
    """A pre-normed transformer block over tokens [B, T, width] with 8 heads and the quick GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = JointAttention(width)
        self.ln_1, self.ln_2 = LayerNorm(width), LayerNorm(width)
        self.mlp = QuickPerceptron(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class QuickPerceptron(nn.Module):
    """width -> 4 * width -> width with x sigmoid(1.702 x) between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.c_fc, self.c_proj = Linear(width, width * 4), Linear(width * 4, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.c_fc(x)
        return self.c_proj(h * torch.sigmoid(1.702 * h))


class JointAttention(Layer):
    """Self-attention."""

    heads = 8

    def __init__(self, width: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = F.linear(x, self.get("in_proj_weight", x), self.get("in_proj_bias", x)).chunk(3, dim=-1)
        return self.out_proj(attention(q, k, v, self.heads))

"""Transformer blocks whose parts are normalised on both sides and gated: what Lumina's descendants are built of."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.layers import Linear, RMSNorm
from backend.nn.rope import Turn

Modulation = tuple[Tensor, Tensor, Tensor, Tensor]
"""Scale and gate of the attention, scale and gate of the perceptron, each [B, 1 or T, width]; gates before their tanh."""


class SwiGLU(nn.Module):
    """width -> hidden -> width, gated by a SiLU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = (Linear(a, b, bias=False) for a, b in ((width, hidden), (hidden, width), (width, hidden)))

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class SandwichBlock(nn.Module):
    """x [B, T, width]; each part: x + tanh(gate) norm2(part(norm1(x) (1 + scale))), or without scale and gate where nothing modulates.

    `attention` is called with (tokens, turn, mask).
    """

    def __init__(self, attention: nn.Module, width: int, hidden: int, eps: float) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, SwiGLU(width, hidden)
        self.attention_norm1, self.attention_norm2 = RMSNorm(width, eps), RMSNorm(width, eps)
        self.ffn_norm1, self.ffn_norm2 = RMSNorm(width, eps), RMSNorm(width, eps)

    def attend(self, x: Tensor, turn: Turn | None, by: Modulation | None, mask: Tensor | None = None) -> Tensor:
        """x after the attention."""
        h = self.attention_norm1(x)
        if by is None:
            return x + self.attention_norm2(self.attention(h, turn, mask))
        return x + by[1].tanh() * self.attention_norm2(self.attention(h * (1 + by[0]), turn, mask))

    def think(self, x: Tensor, by: Modulation | None) -> Tensor:
        """x after the perceptron."""
        h = self.ffn_norm1(x)
        if by is None:
            return x + self.ffn_norm2(self.feed_forward(h))
        return x + by[3].tanh() * self.ffn_norm2(self.feed_forward(h * (1 + by[2])))

    def forward(self, x: Tensor, turn: Turn | None, by: Modulation | None = None, mask: Tensor | None = None) -> Tensor:
        return self.think(self.attend(x, turn, by, mask), by)


def modulation(numbers: Tensor) -> Modulation:
    """[B, 4 * width] -> four of [B, 1, width]; [B, T, 4 * width] -> four of [B, T, width]."""
    whole = numbers if numbers.ndim == 3 else numbers.unsqueeze(1)
    a, b, c, d = whole.chunk(4, dim=-1)
    return a, b, c, d

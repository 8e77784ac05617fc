"""What SAM 3 sees: a vision transformer with windows (ViTDet, Li et al. 2022, arXiv:2203.16527) and pyramids of features on it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.sam3.parts import TEMPERATURE, ConvTranspose2d
from backend.families.sam3.sizes import HEAD_WIDTH, LARGER, QUARTERS, Sam3Sizes
from backend.nn.attention import by_head
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear
from backend.nn.rope import Turn, turn, turned

LEVELS = 3
"""Of a pyramid, from four times the trunk's resolution to its own."""


class Attention(nn.Module):
    """Self-attention [B, T, width] with places turned into queries and keys."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv, self.proj = Linear(width, 3 * width), Linear(width, width)

    def forward(self, x: Tensor, at: Turn) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, HEAD_WIDTH)).permute(2, 0, 3, 1, 4)
        out: Tensor = self.proj(by_head(turned(q, at), turned(k, at), v).transpose(1, 2).flatten(2))
        return out


class Feed(nn.Module):
    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return y


class Block(nn.Module):
    """Pre-normed attention, within windows of `window` cells or over everything (0), and feed forward; x [B, H, W, width]."""

    def __init__(self, sizes: Sam3Sizes, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1, self.norm2 = LayerNorm(sizes.width, 1e-6), LayerNorm(sizes.width, 1e-6)
        self.attn, self.mlp = Attention(sizes.width), Feed(sizes.width, sizes.mlp)

    def forward(self, x: Tensor, at: Turn) -> Tensor:
        h, (b, rows, columns, _) = self.norm1(x), x.shape
        if self.window:
            n = self.window
            h = h.unflatten(2, (-1, n)).unflatten(1, (-1, n)).transpose(2, 3)
            h = self.attn(h.reshape(-1, n * n, h.shape[-1]), at)
            h = h.reshape(b, rows // n, columns // n, n, n, -1).transpose(2, 3).flatten(3, 4).flatten(1, 2)
        else:
            h = self.attn(h.flatten(1, 2), at).unflatten(1, (rows, columns))
        x = x + h
        fed: Tensor = self.mlp(self.norm2(x))
        return x + fed


class Trunk(Layer):
    """Pictures [B, 3, side, side] in -1..1 -> [B, width, side / patch, side / patch]."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.pos_embed = nn.Parameter(torch.empty(1, sizes.grid**2 + sizes.class_place, sizes.width))
        self.patch_embed = nn.ModuleDict({"proj": Conv2d(3, sizes.width, sizes.patch, stride=sizes.patch, bias=False)})
        self.ln_pre = LayerNorm(sizes.width, 1e-6)
        quarter = max(1, sizes.layers // QUARTERS)
        self.blocks = nn.ModuleList(Block(sizes, 0 if (i + 1) % quarter == 0 else sizes.grid) for i in range(sizes.layers))

    def forward(self, pixels: Tensor) -> Tensor:
        n = self.sizes.grid
        x: Tensor = self.patch_embed["proj"](pixels).movedim(1, -1)
        places = self.get("pos_embed", x)[:, -n * n :].reshape(1, n, n, -1)
        x = self.ln_pre(x + places.tile(1, LARGER, LARGER, 1))
        near, far = self._turns(n, 1.0, x.device), self._turns(LARGER * n, 1 / LARGER, x.device)
        for block in self.blocks:
            x = block(x, near if block.window else far)
        return x.movedim(-1, 1)

    def _turns(self, side: int, step: float, device: torch.device) -> Turn:
        """For a square of cells, row by row: half a head's channels turn with the column and half with the row."""
        y, x = torch.meshgrid(torch.arange(side, device=device), torch.arange(side, device=device), indexing="ij")
        at = torch.stack([x.flatten(), y.flatten()], dim=-1) * step
        return turn(at, (HEAD_WIDTH // 2, HEAD_WIDTH // 2), TEMPERATURE)


class Scale(nn.Module):
    """One level of a pyramid: [B, width, H, W] -> [B, hidden, H * 2^doublings, W * 2^doublings]."""

    def __init__(self, width: int, hidden: int, doublings: int) -> None:
        super().__init__()
        self.doublings = doublings
        if doublings == 2:
            self.dconv_2x2_0, self.dconv_2x2_1 = ConvTranspose2d(width, width // 2), ConvTranspose2d(width // 2, width // 4)
        elif doublings == 1:
            self.dconv_2x2 = ConvTranspose2d(width, width // 2)
        self.conv_1x1, self.conv_3x3 = Conv2d(width >> doublings, hidden, 1), Conv2d(hidden, hidden, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if self.doublings == 2:
            x = self.dconv_2x2_1(F.gelu(self.dconv_2x2_0(x)))
        elif self.doublings == 1:
            x = self.dconv_2x2(x)
        y: Tensor = self.conv_3x3(self.conv_1x1(x))
        return y


class Vision(nn.Module):
    """The trunk, the pyramid that things are found in, and the one in which they are segmented by points and boxes."""

    def __init__(self, sizes: Sam3Sizes) -> None:
        super().__init__()
        self.trunk = Trunk(sizes)
        self.convs = self._pyramid(sizes)
        self.interactive_convs = self._pyramid(sizes) if sizes.interactive else None

    def _pyramid(self, sizes: Sam3Sizes) -> nn.ModuleList:
        return nn.ModuleList(Scale(sizes.width, sizes.hidden, LEVELS - 1 - i) for i in range(LEVELS))

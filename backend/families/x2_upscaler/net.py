"""The UNet of the x2 latent upscaler: norms told the time, 1x1 ends, no middle, one skip a level. Names are diffusers'.

Crowson 2022 (the latent upscaler of Stable Diffusion), built of the blocks of Karras et al. 2022 (arXiv:2206.00364).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.blur import blur_kernel
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear

PER_GROUP = 32


@dataclass(frozen=True)
class UpscalerSizes:
    """Everything that differs between nets of this kind."""

    in_channels: int = 8
    out_channels: int = 5
    """One more than a latent has: the last is an estimate of the error, which is not used."""
    channels: tuple[int, ...] = (384, 384, 768, 768)
    layers: int = 4
    """Residual blocks of a level, on either way."""
    attends: tuple[bool, ...] = (False, True, True, True)
    """By level, finest first."""
    context: int = 768
    condition: int = 896
    """Width of the vector condition: a noise level and the pooled text."""
    head_dim: int = 64

    @property
    def embed(self) -> int:
        """Width of the embedded time."""
        return self.channels[0] * 2


class Fourier(Layer):
    """Time [B] as cosines and sines [B, 2 n] of learned frequencies, in float32."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n))

    def forward(self, t: Tensor) -> Tensor:
        t = t.float()
        angles = t[:, None] * self.get("weight", t)[None] * (2 * math.pi)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)


class TimeEmbedding(nn.Module):
    """The embedded time plus the projected condition, through two layers."""

    def __init__(self, s: UpscalerSizes) -> None:
        super().__init__()
        self.cond_proj = Linear(s.condition, s.embed, bias=False)
        self.linear_1, self.linear_2 = Linear(s.embed, s.embed), Linear(s.embed, s.embed)

    def forward(self, time: Tensor, condition: Tensor) -> Tensor:
        h = F.gelu(self.linear_1(time + self.cond_proj(condition)))
        return F.gelu(self.linear_2(h))


class ToldNorm(nn.Module):
    """Group norm whose scale and shift come from the embedded time."""

    def __init__(self, channels: int, embed: int) -> None:
        super().__init__()
        self.groups = max(1, channels // PER_GROUP)
        self.linear = Linear(embed, channels * 2)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        scale, shift = self.linear(emb)[:, :, None, None].chunk(2, dim=1)
        return F.group_norm(x, self.groups) * (1 + scale) + shift


class ResBlock(nn.Module):
    """[B, cin, H, W] -> [B, cout, H, W] by way of `inner` channels."""

    def __init__(self, cin: int, inner: int, cout: int, embed: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = ToldNorm(cin, embed), ToldNorm(inner, embed)
        self.conv1, self.conv2 = Conv2d(cin, inner, 3, padding=1), Conv2d(inner, cout, 3, padding=1)
        self.conv_shortcut = Conv2d(cin, cout, 1, bias=False) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv1(F.gelu(self.norm1(x, emb)))
        h = self.conv2(F.gelu(self.norm2(h, emb)))
        return self.conv_shortcut(x) + h


class Attention(nn.Module):
    """Multi-head attention from x [B, T, width] to itself or to a normalised context [B, S, context]."""

    def __init__(self, width: int, head_dim: int, context: int | None = None) -> None:
        super().__init__()
        self.heads = max(1, width // head_dim)
        if context is not None:
            self.norm_cross = LayerNorm(context)
        self.to_q, self.to_k, self.to_v = Linear(width, width), Linear(context or width, width), Linear(context or width, width)
        self.to_out = nn.ModuleList([Linear(width, width)])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        seen = x if context is None else self.norm_cross(context)
        return self.to_out[0](attention(self.to_q(x), self.to_k(seen), self.to_v(seen), self.heads))


class Transformer(nn.Module):
    """Self-attention where asked for, then attention to the text; no feed-forward."""

    def __init__(self, width: int, s: UpscalerSizes, to_itself: bool) -> None:
        super().__init__()
        if to_itself:
            self.norm1, self.attn1 = ToldNorm(width, s.embed), Attention(width, s.head_dim)
        self.to_itself = to_itself
        self.norm2, self.attn2 = ToldNorm(width, s.embed), Attention(width, s.head_dim, s.context)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        if self.to_itself:
            x = x + _mapped(self.attn1(_tokens(self.norm1(x, emb))), x)
        return x + _mapped(self.attn2(_tokens(self.norm2(x, emb)), context), x)


def _tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


def _mapped(tokens: Tensor, like: Tensor) -> Tensor:
    return tokens.transpose(1, 2).reshape(like.shape)


class Level(nn.Module):
    """The residual blocks of one resolution on one of the ways, each followed by a transformer where the level attends."""

    def __init__(self, widths: list[tuple[int, int, int]], s: UpscalerSizes, attends: bool, to_itself: bool) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(ResBlock(cin, inner, cout, s.embed) for cin, inner, cout in widths)
        self.attentions = nn.ModuleList(Transformer(cout, s, to_itself) for _, _, cout in widths if attends)

    def forward(self, x: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        for i, block in enumerate(self.resnets):
            x = block(x, emb)
            if len(self.attentions):
                x = self.attentions[i](x, emb, context)
        return x


def halved(x: Tensor) -> Tensor:
    """[B, C, H, W] blurred and halved."""
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), blur_kernel(x), stride=2, groups=x.shape[1])


def doubled(x: Tensor) -> Tensor:
    """[B, C, H, W] doubled and blurred."""
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    return F.conv_transpose2d(x, blur_kernel(x) * 4, stride=2, padding=3, groups=x.shape[1])


class UpscalerUNet(nn.Module):
    """x [B, in_channels, H, W] at times t [B], with text [B, tokens, context] and a condition [B, condition] -> [B, out_channels, H, W]."""

    def __init__(self, sizes: UpscalerSizes) -> None:
        super().__init__()
        self.sizes = sizes
        s, last = sizes, len(sizes.channels) - 1
        self.time_proj, self.time_embedding = Fourier(s.embed // 2), TimeEmbedding(s)
        self.conv_in = Conv2d(s.in_channels, s.channels[0], 1)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        cin = s.channels[0]
        for level, width in enumerate(s.channels):
            widths = [(cin if i == 0 else width, width, width) for i in range(s.layers)]
            self.down_blocks.append(Level(widths, s, s.attends[level], level == last))
            cin = width
        for level in range(last, -1, -1):
            width, cout = s.channels[level], s.channels[max(0, level - 1)]
            first = width if level == last else width * 2
            widths = [(first if i == 0 else width, width, cout if i == s.layers - 1 else width) for i in range(s.layers)]
            self.up_blocks.append(Level(widths, s, s.attends[level], level == last))
        self.conv_out = Conv2d(s.channels[0], s.out_channels, 1)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, y: Tensor) -> Tensor:
        """As the class says. Sides that do not halve evenly to two or more on the last level grow by their border, and are cut again."""
        height, width = x.shape[2:]
        step = 1 << (len(self.sizes.channels) - 1)
        right, below = (max(2 * step, -(-side // step) * step) - side for side in (width, height))
        x = F.pad(x, (0, right, 0, below), mode="replicate")
        emb = self.time_embedding(self.time_proj(t).to(x.dtype), y.to(x.dtype))
        h, skips = self.conv_in(x), []
        for i, level in enumerate(self.down_blocks):
            h = level(h, emb, context)
            if i != len(self.down_blocks) - 1:
                skips.append(h)
                h = halved(h)
        for i, level in enumerate(self.up_blocks):
            h = level(torch.cat([h, skips.pop()], dim=1) if i else h, emb, context)
            if i != len(self.up_blocks) - 1:
                h = doubled(h)
        return self.conv_out(h)[:, :, :height, :width]

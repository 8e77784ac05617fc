"""ControlNet-XS (Zavadski et al. 2023, arXiv:2312.06573): a thin way down beside the UNet's own; both hear each other at every block.

Blocks are counted as the UNet counts its own; parameter names are ours (see `names`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.control.unet.net import hint_net
from backend.nn.blocks import Downsample, ResBlock, SpatialTransformer
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Conv2d, Linear

MOST_GROUPS = 32
MIDDLE_EPS = 1e-6


@dataclass(frozen=True)
class XSSizes:
    """Everything that differs. All but the heads, the mix of time embeddings and the order of colours can be read from shapes."""

    base: tuple[int, ...]
    """Width of each level of the UNet."""
    channels: tuple[int, ...]
    """Width of each level here."""
    depth_in: tuple[int, ...]
    """Transformer blocks after each residual block on the way down."""
    depth_middle: int
    context: int
    heads: tuple[int, ...]
    """By level."""
    linear: bool
    hint_channels: int = 3
    hint_widths: tuple[int, ...] = (16, 16, 32, 32, 96, 96, 256)
    time: float | None = None
    """How much of the time embedding is made here, or None where all of it is the UNet's."""
    flipped: bool = False
    """Pictures are seen in the order blue, green, red."""

    @property
    def scale(self) -> int:
        """How many pixels of the picture a side of a latent cell has."""
        halvings: int = 2 ** ((len(self.hint_widths) - 1) // 2)
        return halvings


def groups(channels: int) -> int:
    """The largest number of equal groups, 32 at most."""
    return max(n for n in range(1, MOST_GROUPS + 1) if channels % n == 0)


class ControlNetXS(nn.Module):
    """The parts; `backend.control.xs.run` lets them take part in a run of the UNet."""

    def __init__(self, sizes: XSSizes) -> None:
        super().__init__()
        self.sizes, s, embed = sizes, sizes, sizes.base[0] * 4
        if s.time is not None:
            self.time_embed = nn.Sequential(Linear(s.base[0], embed), nn.SiLU(), Linear(embed, embed))
        self.input_hint_block = hint_net(s.hint_channels, s.hint_widths, s.channels[0])
        self.conv_in = Conv2d(4, s.channels[0], 3, padding=1)
        heard, said = [], [(s.channels[0], s.base[0])]  # widths: of the UNet before each block, of both after it
        self.blocks = nn.ModuleList()
        own, base, per_level = s.channels[0], s.base[0], len(s.depth_in) // len(s.channels)
        for level, (channels, width) in enumerate(zip(s.channels, s.base, strict=True)):
            for i in range(per_level):
                block = nn.ModuleList([ResBlock(own + base, channels, embed, (groups(own + base), groups(channels)))])
                depth = s.depth_in[level * per_level + i]
                if depth:
                    block.append(SpatialTransformer(channels, s.context, s.heads[level], depth, s.linear, groups=groups(channels)))
                heard.append(base)
                self.blocks.append(block)
                own, base = channels, width
                said.append((own, base))
            if level != len(s.channels) - 1:
                heard.append(base)
                self.blocks.append(nn.ModuleList([Downsample(own + base, own)]))
                said.append((own, base))
        common = groups(math.gcd(own, own + base))
        first, second = (ResBlock(cin, own, embed, (common, common), MIDDLE_EPS) for cin in (own + base, own))
        attends = SpatialTransformer(own, s.context, s.heads[-1], s.depth_middle, s.linear, groups=common)
        self.middle_block = nn.ModuleList([first, attends, second])
        self.hears = nn.ModuleList(Conv2d(width, width, 1) for width in [*heard, base])
        self.says = nn.ModuleList(Conv2d(*widths, 1) for widths in [*said, (own, base)])
        self.says_up = nn.ModuleList()
        skips, base = [widths[0] for widths in said], s.base[-1]
        for width in reversed(s.base):
            for _ in range(per_level + 1):
                self.says_up.append(Conv2d(skips.pop(), base, 1))
                base = width

    def hint(self, picture: Tensor) -> Tensor:
        """A picture [B, C, H, W] as a map at the latent's size. Does not depend on the step."""
        h = picture.flip(1) if self.sizes.flipped else picture
        last = len(self.input_hint_block) - 1
        for i in range(0, last + 1, 2):
            h = self.input_hint_block[i](h)
            h = h if i == last else F.silu(h)
        return h

    def embedding(self, t: Tensor, base: Tensor) -> Tensor:
        """The time embedding for both nets: a mix of the UNet's and this one's."""
        if self.sizes.time is None:
            return base
        share = self.sizes.time**0.3
        own: Tensor = self.time_embed(timestep_embedding(t, self.sizes.base[0]).to(base.dtype))
        return own * share + base * (1 - share)

    def down(self, number: int, h: Tensor, base: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        """Block `number` (from 1) of the way down; `base` is the UNet's map before its own."""
        h = torch.cat([h, self.hears[number - 1](base)], dim=1)
        return through(self.blocks[number - 1], h, emb, context)

    def middle(self, h: Tensor, base: Tensor, emb: Tensor, context: Tensor) -> Tensor:
        return through(self.middle_block, torch.cat([h, self.hears[-1](base)], dim=1), emb, context)


def through(block: nn.Module, h: Tensor, emb: Tensor, context: Tensor) -> Tensor:
    for layer in block.children():
        if isinstance(layer, ResBlock):
            h = layer(h, emb)
        elif isinstance(layer, SpatialTransformer):
            h = layer(h, context)
        else:
            h = layer(h)
    return h

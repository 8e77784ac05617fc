"""Blocks that latent diffusion UNets and their control nets share. Parameter names are those of the published single files."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import attention
from backend.nn.layers import Conv2d, GatedLinear, GroupNorm, LayerNorm, Linear
from backend.nn.taps import Site


class ResBlock(nn.Module):
    """Residual block with an added embedding: [B, cin, H, W], emb [B, E] -> [B, cout, H, W]."""

    def __init__(self, cin: int, cout: int, embed: int, groups: tuple[int, int] = (32, 32), eps: float = 1e-5) -> None:
        super().__init__()
        self.in_layers = nn.ModuleList([GroupNorm(groups[0], cin, eps=eps), nn.SiLU(), Conv2d(cin, cout, 3, padding=1)])
        self.emb_layers = nn.ModuleList([nn.SiLU(), Linear(embed, cout)])
        self.out_layers = nn.ModuleList([GroupNorm(groups[1], cout, eps=eps), nn.SiLU(), nn.Identity(), Conv2d(cout, cout, 3, padding=1)])
        self.skip_connection = Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.in_layers[2](F.silu(self.in_layers[0](x), inplace=True))
        h = h + self.emb_layers[1](F.silu(emb))[:, :, None, None]
        h = self.out_layers[3](F.silu(self.out_layers[0](h), inplace=True))
        return self.skip_connection(x) + h


class Downsample(nn.Module):
    """Halves height and width with a stride-2 convolution."""

    def __init__(self, channels: int, cout: int | None = None) -> None:
        super().__init__()
        self.op = Conv2d(channels, cout or channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Upsample(nn.Module):
    """Nearest-neighbour enlargement to `size` (height, width; default twice the input), then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        size = size or (x.shape[2] * 2, x.shape[3] * 2)
        return self.conv(F.interpolate(x, size=size, mode="nearest"))


class Attention(nn.Module):
    """Multi-head attention with projections: x [B, T, width], context [B, S, context_width] -> [B, T, width]."""

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = Linear(width, width, bias=False)
        self.to_k = Linear(context_width, width, bias=False)
        self.to_v = Linear(context_width, width, bias=False)
        self.to_out = nn.ModuleList([Linear(width, width), nn.Identity()])

    def forward(self, x: Tensor, context: Tensor, value: Tensor | None = None) -> Tensor:
        v = self.to_v(context if value is None else value)
        return self.to_out[0](attention(self.to_q(x), self.to_k(context), v, self.heads))

    def tapped(self, name: str, x: Tensor, context: Tensor, site: Site) -> Tensor:
        """As `forward`, with the taps `<name>_patch`, `<name>_replace` and `<name>_output_patch`, and `<name>_around` around all of it."""
        if f"{name}_around" in site.taps:
            return site.around(f"{name}_around", lambda x, context: self._tapped(name, x, context, site), x, context)
        return self._tapped(name, x, context, site)

    def _tapped(self, name: str, x: Tensor, context: Tensor, site: Site) -> Tensor:
        x, context, value = site.fold_many(f"{name}_patch", x, context, context)
        instead = site.replacement(f"{name}_replace")
        if instead is None:
            out = self(x, context, value)
        else:
            out = self.to_out[0](instead(self.to_q(x), self.to_k(context), self.to_v(value), site.facts))
        return site.fold(f"{name}_output_patch", out)


class GEGLU(nn.Module):
    """Gated linear unit with a GELU gate (Shazeer 2020)."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = GatedLinear(width, inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class FeedForward(nn.Module):
    """width -> 4 * width (GEGLU) -> width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([GEGLU(width, width * 4), nn.Identity(), Linear(width * 4, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention to the context and a feed-forward, each pre-normed and residual; x [B, T, width].

    With `cross_only` the first attention looks at the context too.
    """

    def __init__(self, width: int, context_width: int, heads: int, cross_only: bool = False) -> None:
        super().__init__()
        self.heads, self.head_dim, self.cross_only = heads, width // heads, cross_only
        self.attn1 = Attention(width, context_width if cross_only else width, heads)
        self.attn2 = Attention(width, context_width, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = LayerNorm(width), LayerNorm(width), LayerNorm(width)

    def forward(self, x: Tensor, context: Tensor, site: Site | None = None) -> Tensor:
        if site is None:
            n = self.norm1(x)
            x = x + self.attn1(n, context if self.cross_only else n)
            x = x + self.attn2(self.norm2(x), context)
        else:
            site = site.at(n_heads=self.heads, dim_head=self.head_dim)
            n = self.norm1(x)
            x = x + self.attn1.tapped("attn1", n, context if self.cross_only else n, site)
            x = site.fold("middle_patch", x)
            x = x + self.attn2.tapped("attn2", self.norm2(x), context, site)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map, between two projections; residual. [B, C, H, W] -> [B, C, H, W].

    `linear` says that the projections are linear layers (SD 2 and later) rather than 1x1 convolutions (SD 1).
    """

    def __init__(
        self, channels: int, context_width: int, heads: int, depth: int, linear: bool, cross_only: bool = False, groups: int = 32
    ) -> None:
        super().__init__()
        self.linear = linear
        self.norm = GroupNorm(groups, channels, eps=1e-6)
        self.proj_in: nn.Module = Linear(channels, channels) if linear else Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList(TransformerBlock(channels, context_width, heads, cross_only) for _ in range(depth))
        self.proj_out: nn.Module = Linear(channels, channels) if linear else Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, context: Tensor, site: Site | None = None) -> Tensor:
        height, width = x.shape[2:]
        h = self.norm(x)
        h = tokens(h) if self.linear else tokens(self.proj_in(h))
        if self.linear:
            h = self.proj_in(h)
        for i, block in enumerate(self.transformer_blocks):
            h = block(h, context, None if site is None else site.at(block_index=i))
        if self.linear:
            h = self.proj_out(h)
        h = image(h, height, width)
        return x + (h if self.linear else self.proj_out(h))


def tokens(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, H * W, C]; free for channels-last maps."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def image(x: Tensor, height: int, width: int) -> Tensor:
    """[B, H * W, C] -> [B, C, H, W] in channels-last layout, without a copy."""
    return x.reshape(x.shape[0], height, width, x.shape[2]).permute(0, 3, 1, 2)

"""Krea 2's transformer: one stream of prompt and picture, whose prompt is fused from many layers of the text encoder first.

Parameter names are those of the published single files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.references import Place
from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import Turn, grid, turn, turned

PATCH = 2
THETA = 1000.0
EPS = 1e-5


@dataclass(frozen=True)
class Krea2Sizes:
    channels: int
    width: int
    heads: int
    groups: int
    """Heads of keys and values."""
    hidden: int
    layers: int
    time: int
    """Frequencies of the time."""
    text: int
    text_layers: int
    text_heads: int
    text_groups: int
    text_hidden: int
    layerwise: int
    refiners: int
    rows: bool = False
    """Whether a file keeps the six vectors of a block's modulation as rows."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the token's number, row and column."""
        head = self.width // self.heads
        return head // 4, head * 3 // 8, head * 3 // 8


class CenteredNorm(Layer):
    """Divides by the root mean square and multiplies by 1 + scale, in float32."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), self.scale.shape, self.get("scale", x).float() + 1, EPS).to(x.dtype)


class Table(Layer):
    """Vectors [rows, width] that are added to what modulates, kept in a row or as rows."""

    def __init__(self, rows: int, width: int, flat: bool) -> None:
        super().__init__()
        self.rows = rows
        self.lin = nn.Parameter(torch.empty(rows * width) if flat else torch.empty(rows, width))

    def forward(self, x: Tensor) -> Tensor:
        return self.get("lin", x).reshape(self.rows, -1)


class Pair(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qnorm, self.knorm = CenteredNorm(width), CenteredNorm(width)


class Attention(nn.Module):
    """Grouped-query attention whose answer is gated channel by channel."""

    def __init__(self, width: int, heads: int, groups: int) -> None:
        super().__init__()
        self.heads, self.groups, head = heads, groups, width // heads
        self.wq, self.wo, self.gate = (Linear(width, width, bias=False) for _ in range(3))
        self.wk, self.wv = (Linear(width, head * groups, bias=False) for _ in range(2))
        self.qknorm = Pair(head)

    def forward(self, x: Tensor, by: Turn | None = None, mask: Tensor | None = None) -> Tensor:
        q = self.qknorm.qnorm(self.wq(x).unflatten(-1, (self.heads, -1)).transpose(1, 2))
        k = self.qknorm.knorm(self.wk(x).unflatten(-1, (self.groups, -1)).transpose(1, 2))
        v = self.wv(x).unflatten(-1, (self.groups, -1)).transpose(1, 2)
        if by is not None:
            q, k = turned(q, by), turned(k, by)
        if self.groups < self.heads:
            k, v = (part.repeat_interleave(self.heads // self.groups, dim=1) for part in (k, v))
        out = by_head(q, k, v, mask).transpose(1, 2).flatten(2)
        return self.wo(out * self.gate(x).sigmoid())


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.up, self.down = (
            Linear(width, hidden, bias=False),
            Linear(width, hidden, bias=False),
            Linear(hidden, width, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class TextBlock(nn.Module):
    """A plain pre-normed block."""

    def __init__(self, width: int, heads: int, groups: int, hidden: int) -> None:
        super().__init__()
        self.prenorm, self.postnorm = CenteredNorm(width), CenteredNorm(width)
        self.attn, self.mlp = Attention(width, heads, groups), Perceptron(width, hidden)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.prenorm(x), mask=mask)
        return x + self.mlp(self.postnorm(x))


class TextFusion(nn.Module):
    """[B, T, layers, width] -> [B, T, width]: layers look at each other, become one, then tokens look at each other."""

    def __init__(self, sizes: Krea2Sizes) -> None:
        super().__init__()

        def blocks(count: int) -> nn.ModuleList:
            return nn.ModuleList(TextBlock(sizes.text, sizes.text_heads, sizes.text_groups, sizes.text_hidden) for _ in range(count))

        self.layerwise_blocks, self.refiner_blocks = blocks(sizes.layerwise), blocks(sizes.refiners)
        self.projector = Linear(sizes.text_layers, 1, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        h = x.flatten(0, 1)
        for block in self.layerwise_blocks:
            h = block(h)
        h = self.projector(torch.unflatten(h, 0, x.shape[:2]).transpose(2, 3)).squeeze(-1)
        for block in self.refiner_blocks:
            h = block(h, mask)
        return h


class Block(nn.Module):
    """x [B, T, width]; time [B, 1, 6, width] is every block's, to which each adds its table; `still` is that of tokens from `at` on."""

    def __init__(self, sizes: Krea2Sizes) -> None:
        super().__init__()
        self.mod = Table(6, sizes.width, not sizes.rows)
        self.prenorm, self.postnorm = CenteredNorm(sizes.width), CenteredNorm(sizes.width)
        self.attn, self.mlp = Attention(sizes.width, sizes.heads, sizes.groups), Perceptron(sizes.width, sizes.hidden)

    def forward(self, x: Tensor, time: Tensor, by: Turn, mask: Tensor | None, still: Tensor | None = None, at: int = 0) -> Tensor:
        table = self.mod(x)
        told = (time + table).unbind(-2)
        clean = None if still is None else (still + table).unbind(-2)

        def each(x: Tensor, change: Callable[[Tensor, Sequence[Tensor]], Tensor]) -> Tensor:
            return change(x, told) if clean is None else torch.cat([change(x[:, :at], told), change(x[:, at:], clean)], dim=1)

        h = each(self.prenorm(x), lambda x, by: (1 + by[0]) * x + by[1])
        x = x + each(self.attn(h, by, mask), lambda x, by: by[2] * x)
        h = each(self.postnorm(x), lambda x, by: (1 + by[3]) * x + by[4])
        return x + each(self.mlp(h), lambda x, by: by[5] * x)


class Last(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.modulation, self.norm, self.linear = Table(2, width, flat=False), CenteredNorm(width), Linear(width, out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = (time + self.modulation(x)).chunk(2, dim=1)
        return self.linear((1 + scale) * self.norm(x) + shift)


class Krea2Net(nn.Module):
    """(x [B, C, H, W], time in 0..1 [B] (1: noise), context [B, L, layers * text], real [B, L]: which tokens are no filling, None: all)
    -> velocity towards the noise [B, C, H, W].

    `references` are latents [B, C, h, w] to look at, placed at `placed`; with `clean` the net is told that they hold no noise.
    """

    def __init__(self, sizes: Krea2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        patch = sizes.channels * PATCH * PATCH
        self.first = Linear(patch, sizes.width)
        self.tmlp = nn.ModuleList([Linear(sizes.time, sizes.width), nn.GELU("tanh"), Linear(sizes.width, sizes.width)])
        self.tproj = nn.ModuleList([nn.GELU("tanh"), Linear(sizes.width, 6 * sizes.width)])
        self.txtfusion = TextFusion(sizes)
        self.txtmlp = nn.ModuleList(
            [CenteredNorm(sizes.text), Linear(sizes.text, sizes.width), nn.GELU("tanh"), Linear(sizes.width, sizes.width)]
        )
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.last = Last(sizes.width, patch)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, real: Tensor | None, references: Sequence[Tensor] = (), placed: Sequence[Place] = (),
        clean: bool = False,
    ) -> Tensor:  # fmt: skip
        height, width = x.shape[-2:]
        x = fitted(x, PATCH)
        tall, wide = x.shape[-2:]
        time, told = self._told(t, x.dtype)

        mask = None if real is None else real[:, None, None, :]
        text = self.txtfusion(torch.unflatten(context, -1, (self.sizes.text_layers, -1)), mask)
        for layer in self.txtmlp:
            text = layer(text)
        seen = [fitted(reference, PATCH) for reference in references]
        cells = [grid(tall // PATCH, wide // PATCH, 0, x.device)]
        for reference, (number, top, left) in zip(seen, placed, strict=True):
            rows = grid(reference.shape[-2] // PATCH, reference.shape[-1] // PATCH, number, x.device)
            moved = zip(rows.unbind(-1), (0, top // PATCH, left // PATCH), strict=True)
            cells.append(torch.stack([along + first for along, first in moved], dim=-1))
        places = torch.cat(cells)
        by = turn(F.pad(places, (0, 0, text.shape[1], 0)), self.sizes.axes, THETA)
        mask = None if mask is None else F.pad(mask, (0, len(places)), value=True)

        shown = torch.cat([to_tokens(picture, PATCH, channels_last=False) for picture in (x, *seen)], dim=1)
        h = torch.cat([text, self.first(shown)], dim=1)
        end = text.shape[1] + len(cells[0])
        still = self._told(t * 0, x.dtype)[1] if clean and seen else None
        for block in self.blocks:
            h = block(h, told, by, mask, still, end)
        out = to_picture(self.last(h[:, text.shape[1] : end], time), tall, wide, PATCH, channels_last=False)
        return out[..., :height, :width]

    def _told(self, t: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """The embedded time [B, 1, width], and what the blocks are told of it [B, 1, 6, width]."""
        time = timestep_embedding(t * 1000, self.sizes.time).to(dtype).unsqueeze(1)
        for layer in self.tmlp:
            time = layer(time)
        return time, torch.unflatten(self.tproj[1](self.tproj[0](time)), -1, (6, -1))

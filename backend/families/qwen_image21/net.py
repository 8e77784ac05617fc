"""The transformer of Qwen Image 2.1: one stream in which prompt, pictures to look at and the picture that is made follow each other.

What comes first never sees what comes after, and only what is made hears of the time: the rest is the same at every step. Names are
those of the single files; diffusers keeps the perceptron's two halves apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.rope import Turn, turn, turned

THETA = 10000.0
EPS = 1e-6
FREQUENCIES = 256
SLOT = 4
"""Cells of a latent, a square, that stand in the place of one token of a picture among the prompt's."""

Past = list[tuple[Tensor, Tensor]]
"""Keys and values [B, heads, tokens, head] of what comes first, layer by layer."""
Shown = tuple[int, Tensor]
"""Where in the prompt a picture's tokens begin, and its latent [B, C, h, w]."""


@dataclass(frozen=True)
class Qwen21Sizes:
    channels: int = 64
    width: int = 4096
    heads: int = 32
    layers: int = 32
    context: int = 4096
    """Width of the text encoder's states."""
    hidden: int = 12288

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the place in the stream, the row and the column."""
        head = self.width // self.heads
        return head // 8, head * 7 // 16, head * 7 // 16


class CentredNorm(Layer):
    """RMSNorm whose weight is kept less one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return (F.rms_norm(x.float(), (self.width,), None, EPS) * (1 + self.get("weight", x).float())).to(x.dtype)


class TextProjection(nn.Module):
    """[B, L, context] -> [B, L, width]."""

    def __init__(self, context: int, width: int) -> None:
        super().__init__()
        self.text_norm = CentredNorm(context)
        self.in_layer, self.out_layer = Linear(context, width, bias=False), Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out_layer(F.gelu(self.in_layer(self.text_norm(x)), approximate="tanh"))


class TimePerceptron(nn.Module):
    """[B, frequencies] -> [B, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(FREQUENCIES, width, bias=False), Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeEmbedder(nn.Module):
    """t in 0..1 [B] -> [B, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.timestep_embedder = TimePerceptron(width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        return self.timestep_embedder(timestep_embedding(t * 1000, FREQUENCIES).to(dtype))


class Attention(nn.Module):
    """Of tokens over themselves and what came before; queries and keys are normalised head by head and turned."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (Linear(width, width, bias=False) for _ in range(3))
        self.norm_q, self.norm_k = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)
        self.to_out = nn.ModuleList([Linear(width, width, bias=False)])

    def forward(self, x: Tensor, by: Turn, past: tuple[Tensor, Tensor] | None, mask: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        q, k, v = (torch.unflatten(layer(x), -1, (self.heads, -1)).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v))
        q, k = turned(self.norm_q(q), by), turned(self.norm_k(k), by)
        own = (k, v)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return self.to_out[0](by_head(q, k, v, mask).transpose(1, 2).flatten(2)), own


class GatedPerceptron(nn.Module):
    """width -> hidden -> width, gated by a SiLU (Shazeer 2020)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up, self.out = Linear(width, 2 * hidden, bias=False), Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * up)


class Block(nn.Module):
    """x [B, T, width], modulated by four numbers a channel [B, 1, 4 * width] that all blocks share."""

    def __init__(self, sizes: Qwen21Sizes) -> None:
        super().__init__()
        self.width = sizes.width
        self.attn = Attention(sizes.width, sizes.heads)
        self.img_mlp = GatedPerceptron(sizes.width, sizes.hidden)

    def forward(
        self, x: Tensor, told: Tensor, by: Turn, past: tuple[Tensor, Tensor] | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        scale, gate, scale_after, gate_after = told.chunk(4, dim=-1)
        seen, own = self.attn(self._norm(x) * (1 + scale), by, past, mask)
        x = x + gate.tanh() * seen
        return x + gate_after.tanh() * self.img_mlp(self._norm(x) * (1 + scale_after)), own

    def _norm(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), eps=EPS)


class Last(nn.Module):
    """Normalised and scaled by the time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.linear = Linear(width, width, bias=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), eps=EPS) * (1 + self.linear(time).unsqueeze(1))


def places(pictures: Sequence[tuple[int, int, int]], length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places [T, 3] of a stream of `length` tokens of text and of pictures (after how many tokens of text, rows, columns), in order; and
    which picture each token belongs to [T], -1 for text.

    Text goes on in all three directions; a picture stands at one place, its rows and columns counted from its middle, and what follows
    begins behind its longer side.
    """
    parts, owners, at, read = [], [], 0, 0

    def text(count: int) -> None:
        nonlocal at, read
        parts.append(torch.arange(at, at + count, device=device).unsqueeze(-1).expand(-1, 3))
        owners.append(torch.full((count,), -1, device=device))
        at, read = at + count, read + count

    for number, (after, rows, columns) in enumerate(pictures):
        text(after - read)
        sides = ((rows // 2 - rows, rows), (columns // 2 - columns, columns))
        along = (torch.arange(start, start + count, device=device) for start, count in sides)
        axes = torch.meshgrid(torch.full((1,), at, device=device), *along, indexing="ij")
        parts.append(torch.stack(axes, dim=-1).reshape(-1, 3))
        owners.append(torch.full((rows * columns,), number, device=device))
        at += max(rows, columns)
    text(length - read)
    return torch.cat(parts), torch.cat(owners)


class Qwen21Net(nn.Module):
    """(x [B, C, H, W], t in 0..1 [B], what comes first from `before`) -> velocity [B, C, H, W]."""

    def __init__(self, sizes: Qwen21Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.time_text_embed = TimeEmbedder(sizes.width)
        self.txt_in = TextProjection(sizes.context, sizes.width)
        self.img_in = Linear(sizes.channels, sizes.width, bias=False)
        self.modulation = nn.ModuleList([nn.SiLU(), Linear(sizes.width, 4 * sizes.width, bias=False)])
        self.transformer_blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.norm_out = Last(sizes.width)
        self.proj_out = Linear(sizes.width, sizes.channels, bias=False)

    def before(self, context: Tensor, shown: Sequence[Shown] = ()) -> Past:
        """Keys and values of the prompt [B, L, context] and the pictures in it, whose tokens there (a quarter of the latent's cells each)
        give way to their latents. The same at every step."""
        text, pieces, kept = self.txt_in(context), [], 0
        pictures: list[tuple[int, int, int]] = []
        words = 0
        for start, latent in shown:
            height, width = latent.shape[-2:]
            pieces += [text[:, kept:start], self.img_in(latent.flatten(2).transpose(1, 2))]
            words += start - kept
            pictures.append((words, height, width))
            kept = start + height * width // SLOT
        h = torch.cat([*pieces, text[:, kept:]], dim=1)
        spots, owner = places(pictures, words + text.shape[1] - kept, h.device)
        by = turn(spots, self.sizes.axes, THETA)
        told = self._told(torch.zeros(1, device=h.device), h.dtype)
        same = (owner[:, None] == owner[None]) & (owner[:, None] >= 0)
        mask = torch.ones_like(same).tril() | same
        past: Past = []
        for block in self.transformer_blocks:
            h, own = block(h, told, by, mask=mask)
            past.append(own)
        return past

    def forward(self, x: Tensor, t: Tensor, past: Past, first: int) -> Tensor:
        """`first` is the place in the stream where the picture stands (see `after`)."""
        b, _, height, width = x.shape
        spots, _ = places([(0, height, width)], 0, x.device)
        spots[:, 0] += first
        by = turn(spots, self.sizes.axes, THETA)
        h, time = self.img_in(x.flatten(2).transpose(1, 2)), F.silu(self.time_text_embed(t, x.dtype))
        told = self.modulation[1](time).unsqueeze(1)
        for block, (k, v) in zip(self.transformer_blocks, past, strict=True):
            h, _ = block(h, told, by, (k.expand(b, -1, -1, -1), v.expand(b, -1, -1, -1)))
        out: Tensor = self.proj_out(self.norm_out(h, time))
        return out.transpose(1, 2).reshape(b, -1, height, width)

    def _told(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        told: Tensor = self.modulation[1](F.silu(self.time_text_embed(t, dtype))).unsqueeze(1)
        return told


def after(length: int, shown: Sequence[Shown]) -> int:
    """The place in the stream behind a prompt of `length` tokens with pictures in it."""
    words = length - sum(latent.shape[-2] * latent.shape[-1] // SLOT for _, latent in shown)
    return words + sum(max(latent.shape[-2:]) for _, latent in shown)

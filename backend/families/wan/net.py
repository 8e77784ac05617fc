"""The transformer of Wan 2.1 (Wan Team 2025, arXiv:2503.20314), which Wan 2.2's large nets share. Names are the published ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import film_tokens, whole
from backend.nn.attention import attention
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, LayerNorm, Linear, RMSNorm
from backend.nn.patchify import to_picture
from backend.nn.rope import Turn, turn, turned

PATCH = 2
THETA = 10000.0
EPS = 1e-6
FREQUENCIES = 256
ROPE = "rope"
"""The tap under which places of tokens are scaled and moved (see RopeScale)."""


@dataclass(frozen=True)
class WanSizes:
    channels: int = 16
    """Of what is made."""
    shown: int = 16
    """Of what the net is given: a latent, and what it is shown beside it."""
    width: int = 5120
    heads: int = 40
    layers: int = 40
    hidden: int = 13824
    context: int = 4096
    """Width of the text encoder's states."""
    image: int | None = None
    """Width of the image encoder's states, for nets that listen to one."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the frame, the row and the column."""
        head = self.width // self.heads
        side = 2 * (head // 6)
        return head - 2 * side, side, side


@dataclass(frozen=True)
class RopeScale:
    """Frame, row and column of a token become scale * place + shift."""

    scale: tuple[float, float, float]
    shift: tuple[float, float, float]


class PatchEmbedding(Layer):
    """A film [B, C, T, H, W] as tokens; the weight is that of a convolution [width, C, 1, 2, 2]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, channels, 1, PATCH, PATCH))
        self.bias = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(film_tokens(x), self.get("weight", x).flatten(1), self.get("bias", x))


class Modulated(Layer):
    """A table of numbers [1, rows, width] that the time is added to."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.empty(1, rows, width))

    def told(self, time: Tensor) -> tuple[Tensor, ...]:
        """time [B, rows, width] or [B, 1, width] -> rows of [B, 1, width], in float32."""
        made = self.get("modulation", time).float() + time.float()
        return made.chunk(self.modulation.shape[1], dim=1)


class Attention(nn.Module):
    """Queries and keys are normalised over all heads together; with a turn over itself, else over a context.

    A net that listens to an image encoder has keys and values of its own for that.
    """

    def __init__(self, width: int, heads: int, image: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(width, EPS), RMSNorm(width, EPS)
        if image:
            self.k_img, self.v_img, self.norm_k_img = Linear(width, width), Linear(width, width), RMSNorm(width, EPS)

    def forward(self, x: Tensor, context: Tensor, by: Turn | None = None, seen: Tensor | None = None) -> Tensor:
        q, k = self.norm_q(self.q(x)), self.norm_k(self.k(context))
        if by is not None:
            q, k = self._turned(q, by), self._turned(k, by)
        out = attention(q, k, self.v(context), self.heads)
        if seen is not None:
            out = out + attention(q, self.norm_k_img(self.k_img(seen)), self.v_img(seen), self.heads)
        return self.o(out)

    def _turned(self, x: Tensor, by: Turn) -> Tensor:
        return turned(torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2), by).transpose(1, 2).flatten(2)


class Block(Modulated):
    """x [B, T, width] through attention to itself, to the context, and a perceptron."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__(6, sizes.width)
        self.width = sizes.width
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.cross_attn = Attention(sizes.width, sizes.heads, sizes.image is not None)
        self.norm3 = LayerNorm(sizes.width, EPS)
        self.ffn = nn.ModuleList([Linear(sizes.width, sizes.hidden), nn.Identity(), Linear(sizes.hidden, sizes.width)])

    def forward(self, x: Tensor, context: Tensor, time: Tensor, by: Turn, seen: Tensor | None) -> Tensor:
        shift, scale, gate, shift_after, scale_after, gate_after = self.told(time)
        h = self._norm(x, shift, scale)
        x = self._added(x, self.self_attn(h, h, by), gate)
        x = x + self.cross_attn(self.norm3(x), context, seen=seen)
        h = F.gelu(self.ffn[0](self._norm(x, shift_after, scale_after)), approximate="tanh")
        return self._added(x, self.ffn[2](h), gate_after)

    def _norm(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return (F.layer_norm(x.float(), (self.width,), eps=EPS) * (1 + scale) + shift).to(x.dtype)

    def _added(self, x: Tensor, more: Tensor, gate: Tensor) -> Tensor:
        return (x.float() + more.float() * gate).to(x.dtype)


class Head(Modulated):
    """Tokens -> patches."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(2, width)
        self.width = width
        self.head = Linear(width, out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        shift, scale = self.told(time.unsqueeze(1))
        return self.head((F.layer_norm(x.float(), (self.width,), eps=EPS) * (1 + scale) + shift).to(x.dtype))


class ImageEmbedding(nn.Module):
    """What an image encoder saw [B, positions, image] -> [B, positions, width]."""

    def __init__(self, image: int, width: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList([LayerNorm(image), Linear(image, image), nn.Identity(), Linear(image, width), LayerNorm(width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.proj[4](self.proj[3](F.gelu(self.proj[1](self.proj[0](x)))))


class WanNet(nn.Module):
    """(x [B, shown, T, H, W], t in 0..1000 [B], context [B, L, text]) -> velocity [B, channels, T, H, W].

    `seen` [B, positions, image] is what an image encoder saw.
    """

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.patch_embedding = PatchEmbedding(sizes.shown, width)
        self.text_embedding = nn.ModuleList([Linear(sizes.context, width), nn.Identity(), Linear(width, width)])
        self.time_embedding = nn.ModuleList([Linear(FREQUENCIES, width), nn.SiLU(), Linear(width, width)])
        self.time_projection = nn.ModuleList([nn.SiLU(), Linear(width, 6 * width)])
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.head = Head(width, sizes.channels * PATCH * PATCH)
        if sizes.image is not None:
            self.img_emb = ImageEmbedding(sizes.image, width)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, seen: Tensor | None = None, taps: Any = None, facts: dict[str, Any] | None = None
    ) -> Tensor:
        height, width = x.shape[-2:]
        x = whole(x)
        b, _, frames, tall, wide = x.shape
        time = self.time_embedding[2](F.silu(self.time_embedding[0](timestep_embedding(t, FREQUENCIES).to(x.dtype))))
        every = torch.unflatten(self.time_projection[1](F.silu(time)), 1, (6, -1))
        text = self.text_embedding[2](F.gelu(self.text_embedding[0](context), approximate="tanh"))
        looked = self.img_emb(seen) if seen is not None and self.sizes.image is not None else None
        by = self._turn(frames, tall // PATCH, wide // PATCH, x.device, (taps or {}).get(ROPE, ()))
        h = self.patch_embedding(x)
        for block in self.blocks:
            h = block(h, text, every, by, looked)
        out = self.head(h, time).reshape(b * frames, (tall // PATCH) * (wide // PATCH), -1)
        pictures = to_picture(out, tall, wide, PATCH, channels_last=True)
        return torch.unflatten(pictures, 0, (b, frames)).transpose(1, 2)[..., :height, :width]

    def _turn(self, frames: int, rows: int, columns: int, device: torch.device, scales: tuple[RopeScale, ...]) -> Turn:
        axes = [torch.arange(n, dtype=torch.float64, device=device) for n in (frames, rows, columns)]
        for change in scales:
            axes = [axis * scale + shift for axis, scale, shift in zip(axes, change.scale, change.shift, strict=True)]
        return turn(torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3), self.sizes.axes, THETA)

"""The transformer of Qwen Image (Wu et al. 2025, arXiv:2508.02324): two streams, prompt and picture, that attend together.

Parameter names are those of the published files, which diffusers shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.references import Place
from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Embedding, Linear, RMSNorm
from backend.nn.modulate import modulated
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import Turn, turn, turned
from backend.nn.taps import Site

PATCH = 2
THETA = 10000.0
EPS = 1e-6
FREQUENCIES = 256
CLEAN = "index_timestep_zero"
"""The way of placing references that also tells the net that they are clean."""
_HALF_MOST = 65504.0


@dataclass(frozen=True)
class QwenSizes:
    channels: int = 16
    width: int = 3072
    heads: int = 24
    layers: int = 60
    context: int = 3584
    """Width of the text encoder's states."""
    layered: bool = False
    """Makes several pictures at once, layers of one; then the net is told what its latents mean besides the time."""
    clean: bool = False
    """References are always told to be clean."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the picture's number, the row and the column."""
        head = self.width // self.heads
        return head // 8, head * 7 // 16, head * 7 // 16


Parts = tuple[Tensor, Tensor, Tensor]
"""Shift, scale and gate, each [B, 1, width]."""


@dataclass(frozen=True)
class Modulation:
    """What the time does to tokens: to all alike or, with `then`, differently from the token number `at` on."""

    first: Parts
    then: Parts | None = None
    at: int = 0

    def shifted(self, x: Tensor) -> Tensor:
        """The normalised x, scaled and shifted."""
        return self._each(x, lambda part, by: modulated(part, by[0], by[1], EPS))

    def gated(self, x: Tensor) -> Tensor:
        return self._each(x, lambda part, by: part * by[2])

    def _each(self, x: Tensor, do: Any) -> Tensor:
        if self.then is None:
            out: Tensor = do(x, self.first)
            return out
        return torch.cat([do(x[:, : self.at], self.first), do(x[:, self.at :], self.then)], dim=1)


def modulations(numbers: Tensor, clean: Tensor | None = None, at: int = 0) -> tuple[Modulation, Modulation]:
    """[B, 6 * width] as the modulations around the attention and around the perceptron; `clean` is that of tokens from `at` on."""

    def parts(made: Tensor) -> tuple[Parts, Parts]:
        a, b, c, d, e, f = made.unsqueeze(1).chunk(6, dim=-1)
        return (a, b, c), (d, e, f)

    here = parts(numbers)
    there = (None, None) if clean is None else parts(clean)
    return Modulation(here[0], there[0], at), Modulation(here[1], there[1], at)


class Widened(nn.Module):
    """width -> 4 * width, and a GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = Linear(width, width * 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.proj(x), approximate="tanh")


class Perceptron(nn.Module):
    """width -> 4 * width -> width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Widened(width), nn.Identity(), Linear(width * 4, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.net[2](self.net[0](x))


class TwoStreamAttention(nn.Module):
    """Attention of prompt and picture over both, with weights of their own; queries and keys are normalised head by head and turned."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q, self.to_k, self.to_v = (Linear(width, width) for _ in range(3))
        self.add_q_proj, self.add_k_proj, self.add_v_proj = (Linear(width, width) for _ in range(3))
        self.norm_q, self.norm_k, self.norm_added_q, self.norm_added_k = (RMSNorm(width // heads, EPS) for _ in range(4))
        self.to_out = nn.ModuleList([Linear(width, width)])
        self.to_add_out = Linear(width, width)

    def forward(self, x: Tensor, text: Tensor, by: Turn, text_by: Turn) -> tuple[Tensor, Tensor]:
        length = text.shape[1]
        q = torch.cat([self._turned(self.add_q_proj, self.norm_added_q, text, text_by), self._turned(self.to_q, self.norm_q, x, by)], 2)
        k = torch.cat([self._turned(self.add_k_proj, self.norm_added_k, text, text_by), self._turned(self.to_k, self.norm_k, x, by)], 2)
        v = torch.cat([self._heads(self.add_v_proj(text)), self._heads(self.to_v(x))], 2)
        out = by_head(q, k, v).transpose(1, 2).flatten(2)
        return self.to_out[0](out[:, length:]), self.to_add_out(out[:, :length])

    def _turned(self, project: nn.Module, norm: nn.Module, x: Tensor, by: Turn) -> Tensor:
        return turned(norm(self._heads(project(x))), by)

    def _heads(self, x: Tensor) -> Tensor:
        return torch.unflatten(x, -1, (self.heads, -1)).transpose(1, 2)


class TwoStreamBlock(nn.Module):
    """Picture [B, T, width] and prompt [B, L, width] through one attention together and a perceptron each, modulated by the time."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.img_mod = nn.ModuleList([nn.SiLU(), Linear(width, 6 * width)])
        self.txt_mod = nn.ModuleList([nn.SiLU(), Linear(width, 6 * width)])
        self.attn = TwoStreamAttention(width, heads)
        self.img_mlp, self.txt_mlp = Perceptron(width), Perceptron(width)

    def forward(
        self, x: Tensor, text: Tensor, time: Tensor, by: Turn, text_by: Turn, clean: Tensor | None = None, at: int = 0
    ) -> tuple[Tensor, Tensor]:
        """`time` and `clean` (for tokens of the picture from `at` on) after their SiLU."""
        near, far = modulations(self.img_mod[1](time), None if clean is None else self.img_mod[1](clean), at)
        text_near, text_far = modulations(self.txt_mod[1](time))
        seen, read = self.attn(near.shifted(x), text_near.shifted(text), by, text_by)
        x, text = x + near.gated(seen), text + text_near.gated(read)
        x = x + far.gated(self.img_mlp(far.shifted(x)))
        text = text + text_far.gated(self.txt_mlp(text_far.shifted(text)))
        if x.dtype == torch.float16:
            x, text = x.clamp(-_HALF_MOST, _HALF_MOST), text.clamp(-_HALF_MOST, _HALF_MOST)
        return x, text


class TimePerceptron(nn.Module):
    """[B, cin] -> [B, width]."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(cin, width), Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(x)))


class TimeEmbedder(nn.Module):
    """t in 0..1 [B] -> [B, width]."""

    def __init__(self, width: int, layered: bool) -> None:
        super().__init__()
        self.timestep_embedder = TimePerceptron(FREQUENCIES, width)
        if layered:
            self.addition_t_embedding = Embedding(2, width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        out: Tensor = self.timestep_embedder(timestep_embedding(t * 1000, FREQUENCIES).to(dtype))
        if hasattr(self, "addition_t_embedding"):
            out = out + self.addition_t_embedding(torch.zeros(len(t), dtype=torch.long, device=t.device), dtype)
        return out


class Normed(nn.Module):
    """Tokens normalised, scaled and shifted by the time."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = Linear(width, 2 * width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.linear(time).unsqueeze(1).chunk(2, dim=-1)
        return modulated(x, shift, scale, EPS)


def grid(frames: int, height: int, width: int, place: Place, device: torch.device) -> Tensor:
    """Places [frames * height * width, 3] of tokens whose rows and columns are counted from the middle of their picture.

    Several frames are counted on from the first, as layers are.
    """
    number, down, right = place
    numbers = torch.arange(number, number + frames, device=device)
    rows = torch.arange(height, device=device) - (height - height // 2) + down
    columns = torch.arange(width, device=device) - (width - width // 2) + right
    return torch.stack(torch.meshgrid(numbers, rows, columns, indexing="ij"), dim=-1).reshape(-1, 3)


def film_tokens(x: Tensor) -> Tensor:
    """[B, C, T, H, W] -> [B, T * H / 2 * W / 2, 4 C], frame after frame."""
    cells = to_tokens(x.transpose(1, 2).flatten(0, 1), PATCH, channels_last=False)
    return cells.reshape(len(x), -1, x.shape[1] * PATCH * PATCH)


class Stem(nn.Module):
    """What the net and control nets for it begin with: picture, prompt and time as tokens with their turns."""

    sizes: QwenSizes

    def begin(self, sizes: QwenSizes) -> None:
        self.sizes = sizes
        self.time_text_embed = TimeEmbedder(sizes.width, sizes.layered)
        self.txt_norm = RMSNorm(sizes.context, EPS)
        self.img_in, self.txt_in = Linear(sizes.channels * PATCH * PATCH, sizes.width), Linear(sizes.context, sizes.width)
        self.transformer_blocks = nn.ModuleList(TwoStreamBlock(sizes.width, sizes.heads) for _ in range(sizes.layers))

    def turns(
        self, shapes: Sequence[tuple[int, int, int]], placed: Sequence[Place], length: int, device: torch.device
    ) -> tuple[Turn, Turn]:
        """Of pictures of so many frames, rows and columns of tokens, in a row, and of a prompt of `length` tokens, which stands where the
        largest of them ends."""
        every = torch.cat([grid(*shape, place, device) for shape, place in zip(shapes, placed, strict=True)])
        first = max(max(height // 2, width // 2) for _, height, width in shapes)
        if self.sizes.layered:
            first = max(first, shapes[0][0])
        text = torch.arange(first, first + length, device=device).unsqueeze(-1).expand(-1, 3)
        return turn(every, self.sizes.axes, THETA), turn(text, self.sizes.axes, THETA)


class QwenNet(Stem):
    """(x [B, C, T, H, W], t in 0..1 [B], context [B, L, width of the text]) -> velocity [B, C, T, H, W].

    `references` are latents [B, C, T, h, w] placed at `placed`; with `clean` the net is told that they hold no noise. `control` holds,
    under "blocks<n>", n residuals [B, tokens of x, width] that are added after blocks, each after as many. Taps: "double_block"
    f(picture, text, facts) -> both after each block, with `block_index` and `picture_tokens`, how many are of what is made.
    """

    def __init__(self, sizes: QwenSizes) -> None:
        super().__init__()
        self.begin(sizes)
        self.norm_out = Normed(sizes.width)
        self.proj_out = Linear(sizes.width, sizes.channels * PATCH * PATCH)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, references: Sequence[Tensor] = (), placed: Sequence[Place] = (), clean: bool = False,
        control: dict[str, Any] | None = None, taps: Any = None, facts: dict[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        height, width = x.shape[-2:]
        pictures = [whole(x), *(whole(reference) for reference in references)]
        tall, wide = pictures[0].shape[-2:]
        tokens = [film_tokens(picture) for picture in pictures]
        count = tokens[0].shape[1]
        shapes = [(p.shape[2], p.shape[3] // PATCH, p.shape[4] // PATCH) for p in pictures]
        halved = [(number, down // PATCH, right // PATCH) for number, down, right in placed]
        by, text_by = self.turns(shapes, [(0, 0, 0), *halved], context.shape[1], x.device)

        time = F.silu(self.time_text_embed(t, x.dtype))
        still = F.silu(self.time_text_embed(t * 0, x.dtype)) if clean and references else None
        h, text = self.img_in(torch.cat(tokens, dim=1)), self.txt_in(self.txt_norm(context))
        site = Site(taps, {**(facts or {}), "picture_tokens": count, "latent": x}) if taps else None
        for i, block in enumerate(self.transformer_blocks):
            h, text = block(h, text, time, by, text_by, still, count)
            if site is not None:
                h, text = site.at(block_index=i).fold_many("double_block", h, text)
            if control:
                h = self._controlled(h, i, control)
        out = self.proj_out(self.norm_out(h[:, :count], time))
        frames = to_picture(out.reshape(-1, shapes[0][1] * shapes[0][2], out.shape[-1]), tall, wide, PATCH, channels_last=False)
        return torch.unflatten(frames, 0, (len(x), -1)).transpose(1, 2)[..., :height, :width]

    def _controlled(self, h: Tensor, i: int, control: dict[str, Any]) -> Tensor:
        for residuals in control.values():
            residual = residuals[i // -(-len(self.transformer_blocks) // len(residuals))]
            if residual is not None:
                h = torch.cat([h[:, : residual.shape[1]] + residual, h[:, residual.shape[1] :]], dim=1)
        return h


def whole(x: Tensor) -> Tensor:
    """A film [B, C, T, H, W] in whole patches."""
    return torch.unflatten(fitted(x.transpose(1, 2).flatten(0, 1), PATCH), 0, (len(x), -1)).transpose(1, 2)

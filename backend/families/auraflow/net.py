"""AuraFlow's transformer (fal 2024): a few blocks with a stream of the prompt and one of the picture, then many with both in one row.

Names are those of the published single files. No weight of a block has a bias, and no norm a weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn import streams
from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear
from backend.nn.modulate import modulated
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.taps import Site, Taps

PATCH = 2
FREQUENCIES = 256
CLOCK = 1000.0
EPS = 1e-5


@dataclass(frozen=True)
class AuraSizes:
    """Everything that differs between nets of this kind; all but the heads can be read from shapes."""

    channels: int = 4
    width: int = 3072
    heads: int = 12
    hidden: int = 8192
    doubles: int = 4
    singles: int = 32
    context: int = 2048
    """Width of the text encoding."""
    places: int = 96
    """Side of the square of places that positions are cut from."""
    registers: int = 8
    """Tokens of its own before the prompt's."""


def normed(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


class Modulation(nn.ModuleList):
    """vec [B, width] -> so many of [B, 1, width]."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__([nn.SiLU(), Linear(width, count * width, bias=False)])
        self.count = count

    def told(self, vec: Tensor) -> tuple[Tensor, ...]:
        made: tuple[Tensor, ...] = self[1](F.silu(vec)).unsqueeze(1).chunk(self.count, dim=-1)
        return made


class Perceptron(nn.Module):
    """Gated by a SiLU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.c_fc1, self.c_fc2 = Linear(width, hidden, bias=False), Linear(width, hidden, bias=False)
        self.c_proj = Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.silu(self.c_fc1(x)) * self.c_fc2(x))


class Attention(nn.Module):
    """Products of one stream (w1), and of a second one (w2)."""

    def __init__(self, s: AuraSizes, both: bool) -> None:
        super().__init__()
        self.heads = s.heads
        self.w1q, self.w1k, self.w1v, self.w1o = (Linear(s.width, s.width, bias=False) for _ in range(4))
        if both:
            self.w2q, self.w2k, self.w2v, self.w2o = (Linear(s.width, s.width, bias=False) for _ in range(4))

    def forward(self, first: Tensor, second: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What becomes of `first` and, looked at together, of `second`, each [B, T, width]."""
        parts = [self._products(first, self.w1q, self.w1k, self.w1v)]
        if second is not None:
            parts.append(self._products(second, self.w2q, self.w2k, self.w2v))
        q, k, v = (torch.cat(pieces, dim=2) for pieces in zip(*parts, strict=True))
        answer, length = by_head(q, k, v).transpose(1, 2).flatten(2), first.shape[1]
        return self.w1o(answer[:, :length]), self.w2o(answer[:, length:]) if second is not None else answer

    def _products(self, x: Tensor, q: Linear, k: Linear, v: Linear) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B, H, T, d]; queries and keys are normalised."""
        a, b, c = (torch.unflatten(part(x), -1, (self.heads, -1)).transpose(1, 2) for part in (q, k, v))
        return normed(a), normed(b), c


def _after(x: Tensor, told: Sequence[Tensor], answer: Tensor, mlp: nn.Module) -> Tensor:
    """x and what the perceptron says of it and the attention's answer: the answer itself is not kept."""
    return torch.addcmul(x, told[5], mlp(modulated(torch.addcmul(x, told[2], answer), told[3], told[4], EPS)))


class DoubleLayer(nn.Module):
    def __init__(self, s: AuraSizes) -> None:
        super().__init__()
        self.attn = Attention(s, both=True)
        self.mlpC, self.mlpX = Perceptron(s.width, s.hidden), Perceptron(s.width, s.hidden)
        self.modC, self.modX = Modulation(s.width, 6), Modulation(s.width, 6)

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor) -> tuple[Tensor, Tensor]:
        theirs, mine = self.modC.told(vec), self.modX.told(vec)
        said, seen = self.attn(modulated(txt, theirs[0], theirs[1], EPS), modulated(img, mine[0], mine[1], EPS))
        return _after(img, mine, seen, self.mlpX), _after(txt, theirs, said, self.mlpC)


class SingleLayer(nn.Module):
    def __init__(self, s: AuraSizes) -> None:
        super().__init__()
        self.attn, self.mlp, self.modCX = Attention(s, both=False), Perceptron(s.width, s.hidden), Modulation(s.width, 6)

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        told = self.modCX.told(vec)
        return _after(x, told, self.attn(modulated(x, told[0], told[1], EPS))[0], self.mlp)


class Clock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleList([Linear(FREQUENCIES, width), nn.SiLU(), Linear(width, width)])

    def forward(self, t: Tensor, like: Tensor) -> Tensor:
        return self.mlp[2](F.silu(self.mlp[0](timestep_embedding(t * CLOCK, FREQUENCIES).to(like.dtype))))


class AuraNet(Layer):
    """(x [B, C, H, W], t in 0..1 [B], context [B, L, width]) -> velocity [B, C, H, W].

    Taps, by the names that packs know: see backend.nn.streams.
    """

    def __init__(self, sizes: AuraSizes) -> None:
        super().__init__()
        self.sizes = s = sizes
        self.register_tokens = nn.Parameter(torch.empty(1, s.registers, s.width))
        self.positional_encoding = nn.Parameter(torch.empty(1, s.places * s.places, s.width))
        self.init_x_linear = Linear(PATCH * PATCH * s.channels, s.width)
        self.cond_seq_linear = Linear(s.context, s.width, bias=False)
        self.t_embedder = Clock(s.width)
        self.double_layers = nn.ModuleList(DoubleLayer(s) for _ in range(s.doubles))
        self.single_layers = nn.ModuleList(SingleLayer(s) for _ in range(s.singles))
        self.modF = Modulation(s.width, 2)
        self.final_linear = Linear(s.width, PATCH * PATCH * s.channels, bias=False)

    def placed(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Positions [1, rows * columns, width]: the middle of the square that was learnt, which is stretched for larger pictures."""
        side = self.sizes.places
        whole = self.get("positional_encoding", like).reshape(1, side, side, -1)
        if max(rows, columns) > side:
            side = max(rows, columns)
            whole = F.interpolate(whole.movedim(-1, 1), (side, side), mode="bilinear").movedim(1, -1)
        top, left = side // 2 - rows // 2, side // 2 - columns // 2
        return whole[:, top : top + rows, left : left + columns].flatten(1, 2)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, control: Mapping[str, Any] | None = None, taps: Taps | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        height, width = x.shape[-2:]
        seen = fitted(x, PATCH)
        rows, columns = seen.shape[-2] // PATCH, seen.shape[-1] // PATCH
        img = self.init_x_linear(to_tokens(seen, PATCH, channels_last=False)) + self.placed(rows, columns, x)
        own = self.get("register_tokens", x).expand(len(x), -1, -1)
        txt = torch.cat([own, self.cond_seq_linear(context.to(x.dtype))], dim=1)
        vec = self.t_embedder(t, x)
        site = Site(taps, {**(facts or {}), "original_shape": list(x.shape), "net_input": x, "vec": vec}) if taps else None
        for i, block in enumerate(self.double_layers):
            if site is None:
                img, txt = block(img, txt, vec)
            else:
                img, said = streams.double(partial(block), img, txt, vec, site.at(block=("double_block", i), block_index=i))
                assert said is not None
                txt = said
        both = torch.cat([txt, img], dim=1)
        for i, block in enumerate(self.single_layers):
            if site is None:
                both = block(both, vec)
            else:
                both = streams.single(partial(block), both, vec, site.at(block=("single_block", i), block_index=i))
        shift, scale = self.modF.told(vec)
        out = self.final_linear(both[:, txt.shape[1] :] * (1 + scale) + shift)
        return to_picture(out, rows * PATCH, columns * PATCH, PATCH, channels_last=True)[..., :height, :width]

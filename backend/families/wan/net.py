"""The transformer of Wan 2.1 (Wan Team 2025, arXiv:2503.20314), which all nets of Wan 2.2 share. Names are the published ones.

Nets that are shown more than a film (see the files beside this one) lay it over the film's tokens, put tokens of their own before or behind
them, or do something after a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import film_tokens, whole
from backend.nn import streams
from backend.nn.attention import attention
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Conv2d, Layer, LayerNorm, Linear, RMSNorm
from backend.nn.modulate import modulated
from backend.nn.patchify import to_picture
from backend.nn.rope import Turn, turn, turned
from backend.nn.taps import Site

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
    positions: int | None = None
    """Positions of two encoded pictures, for nets that tell the first from the last."""
    reference: int | None = None
    """Channels of a picture that stands before the film, for nets that know one."""

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


@dataclass(frozen=True)
class Line:
    """What goes through the blocks: tokens one behind the other, where they stand, and their clocks."""

    h: Tensor
    """[B, L, width]."""
    places: Tensor
    """[L, 3]: frame, row and column, float64."""
    times: Tensor
    """[B, units] in 0..1000; tokens of a unit share a clock."""
    counts: tuple[int, ...]
    """Tokens of each unit, in order."""
    frames: int
    """Of the film."""
    first: int = 0
    """Where the film begins."""

    def before(self, h: Tensor, places: Tensor) -> Line:
        """With more tokens in front, under the first clock; the film's places are `places` without its first len(h)."""
        counts = (self.counts[0] + h.shape[1], *self.counts[1:])
        return replace(self, h=torch.cat([h, self.h], dim=1), places=places, counts=counts, first=self.first + h.shape[1])

    def behind(self, h: Tensor, places: Tensor) -> Line:
        """With more tokens behind, under the last clock."""
        counts = (*self.counts[:-1], self.counts[-1] + h.shape[1])
        return replace(self, h=torch.cat([self.h, h], dim=1), places=torch.cat([self.places, places]), counts=counts)


@dataclass(frozen=True)
class Told:
    """What every block is told."""

    context: Tensor
    """[B, L, width], of the prompt."""
    time: Tensor
    """[B, units, 6, width]."""
    counts: tuple[int, ...]
    by: Turn
    seen: Tensor | None = None
    """[B, positions, width], of an encoded picture."""
    audio: Tensor | None = None
    """[B, frames, tokens, channels], of a sound."""
    site: Site | None = None


def by_unit(x: Tensor, counts: tuple[int, ...], do: Callable[..., Tensor], *numbers: Tensor) -> Tensor:
    """do(tokens, *numbers) for the tokens of each unit of x [B, L, width]; numbers are [B, units, 1, width]."""
    if len(counts) == 1:
        return do(x, *(n[:, 0] for n in numbers))
    if len(set(counts)) == 1:
        return do(torch.unflatten(x, 1, (len(counts), -1)), *numbers).flatten(1, 2)
    return torch.cat([do(part, *(n[:, i] for n in numbers)) for i, part in enumerate(torch.split(x, list(counts), dim=1))], dim=1)


class Modulated(Layer):
    """A table of numbers [1, rows, width] that the time is added to."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.modulation = nn.Parameter(torch.empty(1, rows, width))

    def told(self, time: Tensor) -> tuple[Tensor, ...]:
        """time [B, units, rows, width] or [B, units, 1, width] -> rows of [B, units, 1, width], in float32."""
        made = self.get("modulation", time).float() + time.float()
        return made.chunk(self.modulation.shape[1], dim=2)

    def shifted(self, x: Tensor, counts: tuple[int, ...], shift: Tensor, scale: Tensor) -> Tensor:
        """x [B, L, width], normalised, scaled and shifted."""
        return by_unit(x.float(), counts, lambda part, a, b: modulated(part, a, b, EPS), shift, scale).to(x.dtype)


class Attention(nn.Module):
    """Queries and keys are normalised over all heads together; with a turn over itself, else over a context.

    A net that listens to an image encoder has keys and values of its own for that.
    """

    def __init__(self, width: int, heads: int, image: bool = False, context: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.o = Linear(width, width), Linear(width, width)
        self.k, self.v = Linear(context or width, width), Linear(context or width, width)
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
    """x [B, L, width] through attention to itself, to the context, and a perceptron."""

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__(6, sizes.width)
        self.self_attn = Attention(sizes.width, sizes.heads)
        self.cross_attn = Attention(sizes.width, sizes.heads, sizes.image is not None)
        self.norm3 = LayerNorm(sizes.width, EPS)
        self.ffn = nn.ModuleList([Linear(sizes.width, sizes.hidden), nn.Identity(), Linear(sizes.hidden, sizes.width)])

    def forward(self, x: Tensor, told: Told) -> Tensor:
        shift, scale, gate, shift_after, scale_after, gate_after = self.told(told.time)
        h = self.shifted(x, told.counts, shift, scale)
        x = self._added(x, self.self_attn(h, h, told.by), told.counts, gate)
        x = self.listened(x, told)
        h = F.gelu(self.ffn[0](self.shifted(x, told.counts, shift_after, scale_after)), approximate="tanh")
        return self._added(x, self.ffn[2](h), told.counts, gate_after)

    def listened(self, x: Tensor, told: Told) -> Tensor:
        """x after what it hears from outside."""
        heard: Tensor = self.cross_attn(self.norm3(x), told.context, seen=told.seen)
        return x + heard

    def _added(self, x: Tensor, more: Tensor, counts: tuple[int, ...], gate: Tensor) -> Tensor:
        return (x.float() + by_unit(more.float(), counts, lambda part, g: part * g, gate)).to(x.dtype)


class Head(Modulated):
    """Tokens -> patches."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__(2, width)
        self.head = Linear(width, out)

    def forward(self, x: Tensor, time: Tensor, counts: tuple[int, ...]) -> Tensor:
        """x [B, L, width], time [B, units, width]."""
        shift, scale = self.told(time.unsqueeze(2))
        return self.head(self.shifted(x, counts, shift, scale))


class ImageEmbedding(Layer):
    """What an image encoder saw [B, positions, image] -> [B, positions, width]. With `places`, those of two pictures are told apart."""

    def __init__(self, image: int, width: int, places: int | None = None) -> None:
        super().__init__()
        self.proj = nn.ModuleList([LayerNorm(image), Linear(image, image), nn.Identity(), Linear(image, width), LayerNorm(width)])
        self.emb_pos = nn.Parameter(torch.empty(1, places, image)) if places is not None else None

    def forward(self, x: Tensor) -> Tensor:
        places = self.maybe("emb_pos", x)
        if places is not None:
            x = x[:, : places.shape[1]]
            x = x + places[:, : x.shape[1]]
        return self.proj[4](self.proj[3](F.gelu(self.proj[1](self.proj[0](x)))))


Places = Callable[..., Tensor]
"""(frames, rows, columns, first frame) -> [tokens, 3]."""
Shown = Mapping[str, Tensor]
"""What a net is given beside the film, by name."""


class WanNet(nn.Module):
    """(x [B, shown, T, H, W], t in 0..1000 [B], context [B, L, text]) -> velocity [B, channels, T, H, W].

    `seen` [B, positions, image] is what an image encoder saw. Nets may be shown more:

    - `clock` [B, 1, T, H, W]: what part of the time it is in each frame (0: the frame is clean);
    - `follows` [B, shown, frames, H, W]: frames that come after the film, and are not made;
    - `reference` [B, reference, 1, H, W]: a picture that stands before it, for nets that know one.
    """

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.width
        self.patch_embedding = PatchEmbedding(sizes.shown, width)
        self.text_embedding = nn.ModuleList([Linear(sizes.context, width), nn.Identity(), Linear(width, width)])
        self.time_embedding = nn.ModuleList([Linear(FREQUENCIES, width), nn.SiLU(), Linear(width, width)])
        self.time_projection = nn.ModuleList([nn.SiLU(), Linear(width, 6 * width)])
        self.blocks = nn.ModuleList(self.block(sizes) for _ in range(sizes.layers))
        self.head = Head(width, sizes.channels * PATCH * PATCH)
        if sizes.image is not None:
            self.img_emb = ImageEmbedding(sizes.image, width, sizes.positions)
        if sizes.reference is not None:
            self.ref_conv = Conv2d(sizes.reference, width, PATCH, stride=PATCH)

    def block(self, sizes: WanSizes) -> Block:
        """One of the net's blocks, to be filled."""
        return Block(sizes)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, seen: Tensor | None = None, taps: Any = None, facts: dict[str, Any] | None = None,
        **shown: Tensor,
    ) -> Tensor:  # fmt: skip
        frames, height, width = x.shape[2:]
        x = whole(x)
        if "follows" in shown:
            x = torch.cat([x, whole(shown["follows"])], dim=2)
        tall, wide = x.shape[-2] // PATCH, x.shape[-1] // PATCH
        scales: tuple[RopeScale, ...] = (taps or {}).get(ROPE, ())
        line = self.line(x, t, shown, partial(_places, scales, x.device))
        time = self.time_embedding[2](F.silu(self.time_embedding[0](self._frequencies(line.times, x.dtype))))
        told = Told(
            context=self.text_embedding[2](F.gelu(self.text_embedding[0](context), approximate="tanh")),
            time=torch.unflatten(self.time_projection[1](F.silu(time)), 2, (6, -1)),
            counts=line.counts,
            by=turn(line.places, self.sizes.axes, THETA),
            seen=self.img_emb(seen) if seen is not None and self.sizes.image is not None else None,
            site=Site(taps, {**(facts or {}), "net_input": x}) if taps else None,
        )
        h = self.head(self.through(line, told, shown), time, line.counts)
        film = h[:, line.first : line.first + frames * tall * wide].reshape(len(x) * frames, tall * wide, -1)
        pictures = to_picture(film, tall * PATCH, wide * PATCH, PATCH, channels_last=True)
        return torch.unflatten(pictures, 0, (len(x), frames)).transpose(1, 2)[..., :height, :width]

    def line(self, x: Tensor, t: Tensor, shown: Shown, places: Places) -> Line:
        """What goes through the blocks of a film x in whole patches."""
        frames, rows, columns = x.shape[2], x.shape[-2] // PATCH, x.shape[-1] // PATCH
        h = self.embedded(x, shown)
        counts: tuple[int, ...] = (h.shape[1],)
        times = t.unsqueeze(1)
        if "clock" in shown:
            clock = shown["clock"].float().mean(dim=(1, 3, 4))
            clock = torch.cat([clock, clock[:, -1:].expand(-1, frames - clock.shape[1])], dim=1)
            times, counts = times * clock, (rows * columns,) * frames
        line = Line(h, places(frames, rows, columns), times, counts, frames)
        if "reference" in shown and self.sizes.reference is not None:
            first = self.ref_conv(whole(shown["reference"])[:, :, 0]).flatten(2).transpose(1, 2)
            return line.before(first, places(frames + 1, rows, columns))
        return line

    def embedded(self, x: Tensor, shown: Shown) -> Tensor:
        """The tokens of a film in whole patches, [B, tokens, width], with what is laid over them."""
        made: Tensor = self.patch_embedding(x)
        return made

    def through(self, line: Line, told: Told, shown: Shown) -> Tensor:
        """The tokens after all blocks."""
        h = line.h
        for i in range(len(self.blocks)):
            h = self.step(i, h, told)
        return h

    def step(self, i: int, h: Tensor, told: Told) -> Tensor:
        """The tokens after one block, with the taps that packs know around it, where it goes by the name ("double_block", i)."""
        if told.site is None:
            out: Tensor = self.blocks[i](h, told)
            return out
        site = told.site.at(block=("double_block", i), block_index=i, n_heads=self.sizes.heads)
        return streams.single(lambda x, _: self.blocks[i](x, told), h, told.time, site)

    def _frequencies(self, times: Tensor, dtype: torch.dtype) -> Tensor:
        return torch.unflatten(timestep_embedding(times.flatten(), FREQUENCIES).to(dtype), 0, tuple(times.shape))


def spaced(first: float, length: int, steps: int, device: torch.device) -> Tensor:
    """`steps` even places from `first` to `first` + length - 1."""
    return torch.linspace(first, first + length - 1, steps, dtype=torch.float64, device=device)


def _places(
    scales: tuple[RopeScale, ...], device: torch.device, frames: int, rows: int, columns: int, first: float = 0.0,
    steps: tuple[int, int] | None = None,
) -> Tensor:  # fmt: skip
    """[tokens, 3], frame after frame; with `steps` only so many of the rows and columns, evenly spaced."""
    tall, wide = steps or (rows, columns)
    axes = [spaced(first, frames, frames, device), spaced(0, rows, tall, device), spaced(0, columns, wide, device)]
    for change in scales:
        axes = [axis * scale + shift for axis, scale, shift in zip(axes, change.scale, change.shift, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)

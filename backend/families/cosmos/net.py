"""The transformer of Cosmos Predict 2 (after NVIDIA 2025, arXiv:2501.03575), which Anima grew from. Names are the published ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import film_tokens, whole
from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.patchify import to_picture
from backend.nn.rope import Turn, angles, turned_halves
from backend.nn.taps import Site

PATCH = 2
THETA = 10000.0
EPS = 1e-6
ENTRANCE = "linear_input"
"""The tap f(x, name, facts) -> x of what goes into a linear layer of a block; name is the layer's in the net, x [B, tokens, width]."""

Enter = Callable[[Linear, str, Tensor], Tensor]
"""A layer, its name in its block, and its input -> its output."""


@dataclass(frozen=True)
class CosmosSizes:
    channels: int = 16
    """Of what is made."""
    shown: int = 17
    """Of what the net is given: a latent, which frames are known where it is told, and what is no picture but filling."""
    width: int = 2048
    heads: int = 16
    layers: int = 28
    hidden: int = 8192
    context: int = 1024
    """Width of the prompt's tokens."""
    low: int = 256
    """Width of the narrow place in each modulation."""
    stretch: tuple[float, float, float] = (1.0, 4.0, 4.0)
    """How much farther frames, rows and columns reach than those the angles were first made for."""

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the frame, the row and the column."""
        head = self.width // self.heads
        side = head // 6 * 2
        return head - 2 * side, side, side

    @property
    def told(self) -> bool:
        """Whether the net is told which frames are known."""
        return self.shown > self.channels + 1


def straight(layer: Linear, name: str, x: Tensor) -> Tensor:
    return layer(x)


class Attention(nn.Module):
    """Queries and keys are normalised head by head; with a turn over itself, else over a context."""

    def __init__(self, width: int, heads: int, context: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.output_proj = Linear(width, width, bias=False), Linear(width, width, bias=False)
        self.k_proj, self.v_proj = Linear(context, width, bias=False), Linear(context, width, bias=False)
        self.q_norm, self.k_norm = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, context: Tensor, by: Turn | None, enter: Enter, name: str) -> Tensor:
        q, k, v = (
            torch.unflatten(enter(layer, f"{name}.{part}", given), -1, (self.heads, -1)).transpose(1, 2)
            for layer, part, given in ((self.q_proj, "q_proj", x), (self.k_proj, "k_proj", context), (self.v_proj, "v_proj", context))
        )
        q, k = self.q_norm(q), self.k_norm(k)
        if by is not None:
            q, k = turned_halves(q, by), turned_halves(k, by)
        return enter(self.output_proj, f"{name}.output_proj", by_head(q, k, v).transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer1, self.layer2 = Linear(width, hidden, bias=False), Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, enter: Enter, name: str) -> Tensor:
        return enter(self.layer2, f"{name}.layer2", F.gelu(enter(self.layer1, f"{name}.layer1", x)))


def modulation(width: int, low: int, parts: int) -> nn.ModuleList:
    """Time -> parts of [.., width], through a narrow place."""
    return nn.ModuleList([nn.SiLU(), Linear(width, low, bias=False), Linear(low, parts * width, bias=False)])


def modulated(layers: nn.ModuleList, time: Tensor, more: Tensor, parts: int) -> tuple[Tensor, ...]:
    """time and more [B, F, ...] -> parts of [B, F, 1, width]; F is the number of frames, or 1 where all share a time."""
    made: Tensor = layers[2](layers[1](F.silu(time)))
    return (made + more[..., : made.shape[-1]]).unsqueeze(2).chunk(parts, dim=-1)


def normed(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """x [B, frames, tokens, width] without its mean and deviation, scaled and shifted, in the type of `scale`."""
    return F.layer_norm(x, x.shape[-1:], eps=EPS).to(scale.dtype) * (1 + scale) + shift


class Block(nn.Module):
    """x [B, frames, tokens of one, width] through attention to itself, to the context, and a perceptron."""

    def __init__(self, sizes: CosmosSizes) -> None:
        super().__init__()
        width = sizes.width
        self.self_attn = Attention(width, sizes.heads, width)
        self.cross_attn = Attention(width, sizes.heads, sizes.context)
        self.mlp = Perceptron(width, sizes.hidden)
        for part in ("self_attn", "cross_attn", "mlp"):
            self.add_module(f"adaln_modulation_{part}", modulation(width, sizes.low, 3))

    def forward(self, x: Tensor, context: Tensor, time: Tensor, more: Tensor, by: Turn, enter: Enter) -> Tensor:
        shape = x.shape[1:3]
        for part in ("self_attn", "cross_attn", "mlp"):
            shift, scale, gate = modulated(self.get_submodule(f"adaln_modulation_{part}"), time, more, 3)  # type: ignore[arg-type]
            h = normed(x, shift, scale).flatten(1, 2)
            if part == "mlp":
                h = self.mlp(h, enter, part)
            else:
                own = part == "self_attn"
                attention = self.self_attn if own else self.cross_attn
                h = attention(h, h if own else context, by if own else None, enter, part)
            x = x + gate * h.unflatten(1, shape)
        return x


class TimeEmbedder(nn.Module):
    """The time's waves [.., width] -> what it adds to every modulation [.., 3 * width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1, self.linear_2 = Linear(width, width, bias=False), Linear(width, 3 * width, bias=False)

    def forward(self, waves: Tensor) -> Tensor:
        return self.linear_2(F.silu(self.linear_1(waves)))


class PatchEmbedding(nn.Module):
    """A film [B, C, T, H, W] as tokens [B, T * rows * columns, width]."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.ModuleList([nn.Identity(), Linear(channels * PATCH * PATCH, width, bias=False)])

    def forward(self, x: Tensor) -> Tensor:
        return self.proj[1](film_tokens(x))


class FinalLayer(nn.Module):
    """Tokens -> patches."""

    def __init__(self, width: int, low: int, out: int) -> None:
        super().__init__()
        self.linear = Linear(width, out, bias=False)
        self.adaln_modulation = modulation(width, low, 2)

    def forward(self, x: Tensor, time: Tensor, more: Tensor) -> Tensor:
        shift, scale = modulated(self.adaln_modulation, time, more, 2)
        return self.linear(normed(x, shift, scale))


class CosmosNet(Layer):
    """(x [B, channels, T, H, W], t in 0..1 [B] or [B, T] where frames have times of their own, context [B, L, width of the text])
    -> velocity [B, channels, T, H, W].

    `known` [B, 1, T, H, W] says which frames are given (1), for nets that are told. Taps: "linear_input" (see ENTRANCE); `facts` has
    "original_shape" (that of x) and "block_index".
    """

    def __init__(self, sizes: CosmosSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.x_embedder = PatchEmbedding(sizes.shown, sizes.width)
        self.t_embedder = nn.ModuleList([nn.Identity(), TimeEmbedder(sizes.width)])
        self.t_embedding_norm = RMSNorm(sizes.width, EPS)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.layers))
        self.final_layer = FinalLayer(sizes.width, sizes.low, sizes.channels * PATCH * PATCH)

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, known: Tensor | None = None, taps: Any = None, facts: dict[str, Any] | None = None
    ) -> Tensor:
        shape = list(x.shape)
        height, width = shape[-2:]
        beside = [torch.zeros_like(x[:, :1]) if known is None else known.to(x)] if self.sizes.told else []
        x = whole(torch.cat([x, *beside], dim=1))
        b, _, frames, tall, wide = x.shape
        rows, columns = tall // PATCH, wide // PATCH
        x = torch.cat([x, torch.zeros_like(x[:, :1])], dim=1)  # nothing of it is filling

        times = t.reshape(b, -1)
        waves = timestep_embedding(times.flatten(), self.sizes.width).to(x.dtype).reshape(*times.shape, -1)
        time, more = self.t_embedding_norm(waves), self.t_embedder[1](waves)
        by = self._turn(frames, rows, columns, x.device)
        h = self.x_embedder(x).unflatten(1, (frames, rows * columns))
        if h.dtype == torch.float16:  # what is added up grows beyond half precision
            h = h.float()
        site = Site(taps, {**(facts or {}), "original_shape": shape}) if taps else None
        for i, block in enumerate(self.blocks):
            h = block(h, context, time, more, by, straight if site is None else _entered(site, i))
        out = self.final_layer(h, time, more)
        pictures = to_picture(out.flatten(0, 1), tall, wide, PATCH, channels_last=True)
        return torch.unflatten(pictures, 0, (b, frames)).transpose(1, 2)[..., :height, :width]

    def _turn(self, frames: int, rows: int, columns: int, device: torch.device) -> Turn:
        """Angles of every token, frame after frame; each direction turns as slowly as its stretch asks (bloc97 2023, "NTK-aware")."""
        grids = torch.meshgrid(*(torch.arange(n, device=device) for n in (frames, rows, columns)), indexing="ij")
        parts = [
            angles(places.flatten(), channels, THETA * stretch ** (channels / (channels - 2)))
            for places, channels, stretch in zip(grids, self.sizes.axes, self.sizes.stretch, strict=True)
        ]
        every = torch.cat(parts, dim=-1)
        return every.cos().float(), every.sin().float()


def _entered(site: Site, block: int) -> Enter:
    """Layers of a block behind the taps of what goes into them."""
    here = site.at(block_index=block)

    def enter(layer: Linear, name: str, x: Tensor) -> Tensor:
        return layer(here.fold(ENTRANCE, x, f"blocks.{block}.{name}"))

    return enter

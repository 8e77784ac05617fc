"""Z-Image's transformer: one stream of picture and prompt tokens. Parameter names are those of the published single files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.patchify import fitted, to_picture, to_tokens
from backend.nn.rope import Turn, grid, turn, turned
from backend.nn.sandwich import SandwichBlock, modulation
from backend.nn.taps import Site

PATCH = 2
MULTIPLE = 32
"""Both kinds of tokens are filled up to a multiple of this with a learnt one, which takes part."""
THETA = 256.0
EPS = 1e-5
FREQUENCIES = 256


@dataclass(frozen=True)
class ZImageSizes:
    channels: int
    width: int
    heads: int
    hidden: int
    layers: int
    refiners: int
    context: int
    """Width of the text encoder's states."""
    told: int
    """Width of the embedded time."""
    time_hidden: int

    @property
    def axes(self) -> tuple[int, int, int]:
        """Channels of a head that turn with the token's number, row and column."""
        head = self.width // self.heads
        return head // 4, head * 3 // 8, head * 3 // 8


class JoinedAttention(nn.Module):
    """Self-attention with queries, keys and values from one product, queries and keys normalised head by head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.out = Linear(width, 3 * width, bias=False), Linear(width, width, bias=False)
        self.q_norm, self.k_norm = RMSNorm(width // heads, EPS), RMSNorm(width // heads, EPS)

    def forward(self, x: Tensor, by: Turn, mask: Tensor | None = None) -> Tensor:
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, dim=-1))
        out = by_head(turned(self.q_norm(q), by), turned(self.k_norm(k), by), v, mask)
        return self.out(out.transpose(1, 2).flatten(2))


class ModulatedBlock(SandwichBlock):
    """A block that hears of the time, or (`told` 0) does not."""

    def __init__(self, sizes: ZImageSizes, told: int) -> None:
        super().__init__(JoinedAttention(sizes.width, sizes.heads), sizes.width, sizes.hidden, EPS)
        self.adaLN_modulation = nn.ModuleList([Linear(told, 4 * sizes.width)]) if told else None

    def forward(self, x: Tensor, by: Turn, time: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return super().forward(x, by, modulation(self.adaLN_modulation[0](time)) if self.adaLN_modulation is not None else None)


class TimeEmbedder(nn.Module):
    """t [B] -> [B, told]."""

    def __init__(self, hidden: int, told: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleList([Linear(FREQUENCIES, hidden), nn.SiLU(), Linear(hidden, told)])

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        return self.mlp[2](F.silu(self.mlp[0](timestep_embedding(t, FREQUENCIES).to(dtype))))


class FinalLayer(nn.Module):
    """Tokens -> patches, scaled by the time."""

    def __init__(self, width: int, told: int, out: int) -> None:
        super().__init__()
        self.width = width
        self.linear = Linear(width, out)
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(told, width)])

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale = 1 + self.adaLN_modulation[1](F.silu(time)).unsqueeze(1)
        return self.linear(F.layer_norm(x, (self.width,), eps=1e-6) * scale)


class ZImageNet(Layer):
    """(x [B, C, H, W], time in 0..1 [B] (1: clean), context [B, L, width of the text], real [B, L]: which of these are no filling; L a
    multiple of 32) -> velocity towards the clean picture [B, C, H, W].

    Taps: "stream" f(tokens, place, facts) -> tokens; place is "picture" before its tokens are refined, "both" before the blocks of the
    stream, and i after block i. `facts` has "net", "latent" (x), "time", "turn" (that of the tokens) and, in the stream, "prompt" (the
    last of the tokens).
    """

    def __init__(self, sizes: ZImageSizes) -> None:
        super().__init__()
        self.sizes = sizes
        patch = sizes.channels * PATCH * PATCH
        self.x_embedder = Linear(patch, sizes.width)
        self.cap_embedder = nn.ModuleList([RMSNorm(sizes.context, EPS), Linear(sizes.context, sizes.width)])
        self.t_embedder = TimeEmbedder(sizes.time_hidden, sizes.told)
        self.noise_refiner = nn.ModuleList(ModulatedBlock(sizes, sizes.told) for _ in range(sizes.refiners))
        self.context_refiner = nn.ModuleList(ModulatedBlock(sizes, 0) for _ in range(sizes.refiners))
        self.layers = nn.ModuleList(ModulatedBlock(sizes, sizes.told) for _ in range(sizes.layers))
        self.final_layer = FinalLayer(sizes.width, sizes.told, patch)
        self.x_pad_token = nn.Parameter(torch.empty(1, sizes.width))
        self.cap_pad_token = nn.Parameter(torch.empty(1, sizes.width))

    def forward(self, x: Tensor, t: Tensor, context: Tensor, real: Tensor, taps: Any = None, facts: dict[str, Any] | None = None) -> Tensor:
        height, width = x.shape[-2:]
        x = fitted(x, PATCH)
        tall, wide = x.shape[-2:]
        time = self.t_embedder(t * 1000, x.dtype)

        text = self.cap_embedder[1](self.cap_embedder[0](context))
        text = torch.where(real.unsqueeze(-1), text, self.get("cap_pad_token", text))
        places = torch.zeros(text.shape[1], 3, device=x.device)
        places[:, 0] = torch.arange(1, text.shape[1] + 1, device=x.device)
        text_turn = turn(places, self.sizes.axes, THETA)
        for block in self.context_refiner:
            text = block(text, text_turn)

        site = Site(taps or {}, {**(facts or {}), "net": self, "latent": x, "time": time})
        h, picture_turn = self.picture(x, text.shape[1] + 1)
        h = site.at(turn=picture_turn).fold("stream", h, "picture")
        for block in self.noise_refiner:
            h = block(h, picture_turn, time)

        both_turn = (torch.cat([picture_turn[0], text_turn[0]]), torch.cat([picture_turn[1], text_turn[1]]))
        site = site.at(turn=both_turn, prompt=text)
        both = site.fold("stream", torch.cat([h, text], dim=1), "both")
        for i, block in enumerate(self.layers):
            both = site.fold("stream", block(both, both_turn, time), i)

        count = (tall // PATCH) * (wide // PATCH)
        out = to_picture(self.final_layer(both[:, :count], time), tall, wide, PATCH, channels_last=True)
        return out[..., :height, :width]

    def picture(self, x: Tensor, first: int) -> tuple[Tensor, Turn]:
        """The picture's tokens, filled up, and their turn; all stand at number `first`, filling at nought."""
        places = grid(x.shape[-2] // PATCH, x.shape[-1] // PATCH, first, x.device)
        h = self.filled(self.x_embedder(to_tokens(x, PATCH, channels_last=True)))
        return h, turn(F.pad(places, (0, 0, 0, h.shape[1] - len(places))), self.sizes.axes, THETA)

    def filled(self, tokens: Tensor) -> Tensor:
        """A picture's tokens filled up to a whole lot."""
        missing = -tokens.shape[1] % MULTIPLE
        return torch.cat([tokens, self.get("x_pad_token", tokens).expand(len(tokens), missing, -1)], dim=1) if missing else tokens

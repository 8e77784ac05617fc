"""The multimodal transformer of Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206, section 4), under the names of the
published single files: a stream of the prompt and one of the picture, which attend to each other in every block."""

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
from backend.nn.layers import Conv2d, Layer, Linear, RMSNorm
from backend.nn.modulate import modulated
from backend.nn.patchify import fitted, to_picture
from backend.nn.taps import Site, Taps

PATCH = 2
FREQUENCIES = 256
EPS = 1e-6


@dataclass(frozen=True)
class SD3Sizes:
    """Everything that differs between nets of this kind; all of it can be read from shapes."""

    channels: int = 16
    width: int = 1536
    heads: int = 24
    hidden: int = 6144
    layers: int = 24
    context: int = 4096
    """Width of the text encoding."""
    pooled: int = 2048
    places: int = 192
    """Side of the square of places that positions are cut from."""
    normed: bool = False
    """Whether queries and keys are normalised (3.5)."""
    dual: tuple[int, ...] = ()
    """Blocks in which the picture attends to itself once more (3.5 medium)."""


class Embedder(nn.Module):
    """width in -> width, twice linear with a SiLU between."""

    def __init__(self, cin: int, width: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleList([Linear(cin, width), nn.SiLU(), Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp[2](F.silu(self.mlp[0](x)))


class Patches(nn.Module):
    """Patches of the latent as tokens."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = Conv2d(channels, width, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x), approximate="tanh"))


class Products(nn.Module):
    """Queries, keys and values of one stream, and what becomes of the answer."""

    def __init__(self, s: SD3Sizes, answers: bool = True) -> None:
        super().__init__()
        self.heads = s.heads
        self.qkv = Linear(s.width, 3 * s.width)
        self.proj = Linear(s.width, s.width) if answers else None
        self.ln_q, self.ln_k = (RMSNorm(s.width // s.heads, EPS) if s.normed else None for _ in range(2))

    def products(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Each [B, H, T, d]."""
        q, k, v = torch.unflatten(self.qkv(x), -1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return (q if self.ln_q is None else self.ln_q(q)), (k if self.ln_k is None else self.ln_k(k)), v


class Stream(nn.Module):
    """One stream's half of a block. `last`: it is read, and goes on no more; `dual`: it attends to itself besides."""

    def __init__(self, s: SD3Sizes, last: bool = False, dual: bool = False) -> None:
        super().__init__()
        self.attn = Products(s, answers=not last)
        self.attn2 = Products(s) if dual else None
        self.mlp = None if last else Perceptron(s.width, s.hidden)
        self.numbers = 2 if last else 9 if dual else 6
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(s.width, self.numbers * s.width)])

    def told(self, vec: Tensor) -> tuple[Tensor, ...]:
        """Shift, scale and gate of the attention, of the perceptron, and of the second attention, each [B, 1, width]."""
        told: tuple[Tensor, ...] = self.adaLN_modulation[1](vec).unsqueeze(1).chunk(self.numbers, dim=-1)
        return told

    def after(self, x: Tensor, told: Sequence[Tensor], answer: Tensor) -> Tensor:
        """x with the attention's answer [B, T, width], its own look at itself, and the perceptron's."""
        assert self.attn.proj is not None and self.mlp is not None
        out = torch.addcmul(x, told[2], self.attn.proj(answer))
        if self.attn2 is not None and self.attn2.proj is not None:
            alone = by_head(*self.attn2.products(modulated(x, told[6], told[7]))).transpose(1, 2).flatten(2)
            out = torch.addcmul(out, told[8], self.attn2.proj(alone))
        return torch.addcmul(out, told[5], self.mlp(modulated(out, told[3], told[4])))


class Block(nn.Module):
    """(picture [B, T, width], prompt [B, S, width], vec [B, width]) -> both; the prompt's is None after the last."""

    def __init__(self, s: SD3Sizes, last: bool = False, dual: bool = False) -> None:
        super().__init__()
        self.context_block, self.x_block = Stream(s, last=last), Stream(s, dual=dual)
        self.last = last

    def forward(self, img: Tensor, txt: Tensor, vec: Tensor, site: Site | None = None) -> tuple[Tensor, Tensor | None]:
        mine, theirs = self.x_block.told(vec), self.context_block.told(vec)
        parts = zip(
            self.context_block.attn.products(modulated(txt, theirs[0], theirs[1])),
            self.x_block.attn.products(modulated(img, mine[0], mine[1])),
            strict=True,
        )
        q, k, v = (torch.cat(pair, dim=2) for pair in parts)
        answer = _attended(q, k, v, txt.shape[1], site)
        length = txt.shape[1]
        img = self.x_block.after(img, mine, answer[:, length:])
        return img, None if self.last else self.context_block.after(txt, theirs, answer[:, :length])


def _attended(q: Tensor, k: Tensor, v: Tensor, length: int, site: Site | None) -> Tensor:
    """Attention [B, S + T, width], or what a tap has in its place."""
    instead = None if site is None else site.replacement("attn1_replace")
    if instead is None or site is None:
        return by_head(q, k, v).transpose(1, 2).flatten(2)
    flat = [part.transpose(1, 2).flatten(2) for part in (q, k, v)]
    return instead(*flat, {**site.facts, "n_heads": q.shape[1], "prompt_tokens": length})


class FinalLayer(nn.Module):
    def __init__(self, s: SD3Sizes) -> None:
        super().__init__()
        self.linear = Linear(s.width, PATCH * PATCH * s.channels)
        self.adaLN_modulation = nn.ModuleList([nn.SiLU(), Linear(s.width, 2 * s.width)])

    def forward(self, x: Tensor, vec: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation[1](vec).unsqueeze(1).chunk(2, dim=-1)
        return self.linear(modulated(x, shift, scale))


class SD3Net(Layer):
    """(x [B, C, H, W], t [B] in 0..1000, context [B, L, width], y [B, pooled]) -> velocity [B, C, H, W].

    Taps, by the names that packs know: "double_block" f(args, facts) after each block and "dit_replace" around it, each takes and gives a
    dict; "attn1_replace" f(q, k, v, facts), facts["prompt_tokens"] tokens of the prompt before the picture's; "block_around".
    """

    def __init__(self, sizes: SD3Sizes, whole: bool = True) -> None:
        """Without `whole` only what leads into the blocks, all of which go on: what control nets have too."""
        super().__init__()
        self.sizes = s = sizes
        self.x_embedder = Patches(s.channels, s.width)
        self.pos_embed = nn.Parameter(torch.empty(1, s.places * s.places, s.width))
        self.t_embedder = Embedder(FREQUENCIES, s.width)
        self.y_embedder = Embedder(s.pooled, s.width)
        self.context_embedder: Linear | None = Linear(s.context, s.width)
        self.joint_blocks = nn.ModuleList(Block(s, last=whole and i == s.layers - 1, dual=i in s.dual) for i in range(s.layers))
        if whole:
            self.final_layer = FinalLayer(s)

    def placed(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Positions [1, rows * columns, width]: the middle of the square that was learnt."""
        side = self.sizes.places
        whole = self.get("pos_embed", like).reshape(side, side, -1)
        top, left = (side - rows) // 2, (side - columns) // 2
        return whole[top : top + rows, left : left + columns].flatten(0, 1)[None]

    def told(self, t: Tensor, y: Tensor, like: Tensor) -> Tensor:
        """The embedded time and pooled text [B, width], as every modulation reads them."""
        return F.silu(self.t_embedder(timestep_embedding(t, FREQUENCIES).to(like.dtype)) + self.pooled(y.to(like.dtype)))

    def pooled(self, y: Tensor) -> Tensor:
        """The pooled text, embedded."""
        embedded: Tensor = self.y_embedder(y)
        return embedded

    def forward(
        self, x: Tensor, t: Tensor, context: Tensor, y: Tensor, control: Mapping[str, Sequence[Tensor | None]] | None = None,
        taps: Taps | None = None, facts: Mapping[str, Any] | None = None,
    ) -> Tensor:  # fmt: skip
        """`control` has residuals of the picture's tokens under "output", one for each block they follow."""
        height, width = x.shape[-2:]
        seen = fitted(x, PATCH)
        rows, columns = seen.shape[-2] // PATCH, seen.shape[-1] // PATCH
        img = self.x_embedder(seen) + self.placed(rows, columns, x)
        vec = self.told(t, y, x)
        assert self.context_embedder is not None
        txt: Tensor | None = self.context_embedder(context.to(x.dtype))
        added = (control or {}).get("output", ())
        site = Site(taps, {**(facts or {}), "original_shape": list(x.shape), "net_input": x, "vec": vec}) if taps else None
        for i, block in enumerate(self.joint_blocks):
            assert txt is not None
            if site is None:
                img, txt = block(img, txt, vec)
            else:
                here = site.at(block=("double_block", i), block_index=i, n_heads=self.sizes.heads)
                img, txt = streams.double(partial(block, site=here), img, txt, vec, here)
            residual = added[i] if i < len(added) else None
            if residual is not None:
                img = img + residual.to(img)
        return to_picture(self.final_layer(img, vec), rows * PATCH, columns * PATCH, PATCH, channels_last=True)[..., :height, :width]

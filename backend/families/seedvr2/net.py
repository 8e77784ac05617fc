"""The transformer of SeedVR2 (Wang et al. 2025, arXiv:2506.05301), which restores films and pictures, under its published key names.

Two streams of tokens, of the film and of a fixed text, meet in attention within windows (NaDiT with Swin windows, SeedVR, arXiv:2501.01320,
section 3): each window sees its own tokens and the whole text, and what the text hears is the mean over all windows. Every second block
moves the windows by half. They count the same tokens at every resolution; those at the borders are smaller.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.families.qwen_image.net import whole
from backend.nn import streams
from backend.nn.attention import by_head
from backend.nn.embeddings import timestep_embedding
from backend.nn.layers import Layer, Linear, RMSNorm
from backend.nn.patchify import to_picture, to_tokens
from backend.nn.rope import Turn, turned
from backend.nn.taps import Site

PATCH = 2
EPS = 1e-5
FREQUENCIES = 256
WINDOWS = (4, 3, 3)
"""How many windows a film of 30 frames and of `AREA` has along time, rows and columns."""
FRAMES, AREA = 30, 45 * 80
"""Of 1280 x 720 pixels, in tokens."""
AT_ONCE = 32
"""Windows that are computed together: enough to keep a GPU busy, few enough to be no burden."""
_THETA, _FASTEST = 10000.0, 256.0


@dataclass(frozen=True)
class SeedVR2Sizes:
    channels: int = 16
    """Of what is made."""
    shown: int = 33
    """Of what the net is given: a latent, the one to restore, and where that is known."""
    width: int = 2560
    heads: int = 20
    head: int = 128
    layers: int = 32
    apart: int = 10
    """How many blocks have weights of their own for the text; later ones use the film's."""
    hidden: int = 6912
    context: int = 5120
    """Width of the text."""
    second: bool = True
    """The net with 3 billion weights: gated perceptrons, and a text that turns too and is left as it is by the last block. Else that with
    7 billion."""
    rates: int | None = None
    """How many rates of turning each block keeps; None where the file leaves them out."""


@dataclass(frozen=True)
class Plan:
    """Where the tokens of a film are, for blocks whose windows are moved or not."""

    places: Tensor
    """[tokens, 3]: frame, row and column within the window, as the net counts them."""
    windows: tuple[Tensor, ...]
    """[windows, tokens of each] indices of tokens, a table for each shape of window."""
    text: Tensor | None
    """[tokens of the text, 3], where the text turns too."""

    @property
    def count(self) -> int:
        return sum(len(table) for table in self.windows)


def cuts(length: int, window: int, moved: bool) -> list[tuple[int, int]]:
    """Where windows lie along an axis; moved ones begin with a half."""
    moved = moved and window < length
    back = 0.5 if moved else 0.0
    number = math.ceil((length - back) / window) + (1 if moved else 0)
    every = ((max(int((i - back) * window), 0), min(int((i - back + 1) * window), length)) for i in range(number))
    return [(first, end) for first, end in every if first < end]


def plan(size: tuple[int, int, int], sizes: SeedVR2Sizes, moved: bool, text: int, device: torch.device) -> Plan:
    """For a film of so many frames, rows and columns of tokens."""
    frames, height, width = size
    scale = math.sqrt(AREA / (height * width))
    alike = (min(frames, FRAMES), round(height * scale), round(width * scale))
    axes = [cuts(n, max(1, math.ceil(m / count)), moved) for n, m, count in zip(size, alike, WINDOWS, strict=True)]
    steps = [torch.cat([_steps(end - first, sizes.second) for first, end in axis]) for axis in axes]
    if sizes.second:
        steps[0] = steps[0] + text
    places = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1).reshape(-1, 3)
    numbers = torch.arange(frames * height * width).reshape(size)
    tables: dict[tuple[int, ...], list[Tensor]] = {}
    for spans in product(*axes):
        tables.setdefault(tuple(end - first for first, end in spans), []).append(numbers[tuple(slice(*span) for span in spans)].flatten())
    read = torch.arange(text, dtype=torch.float32).unsqueeze(-1).expand(-1, 3).to(device) if sizes.second else None
    return Plan(places.to(device), tuple(torch.stack(table).to(device) for table in tables.values()), read)


def _steps(length: int, counted: bool) -> Tensor:
    """Places along a window: counted, or evenly from -1 to 1."""
    return torch.arange(length, dtype=torch.float32) if counted else torch.linspace(-1, 1, length)


class Rope(Layer):
    """How fast channels turn with the place; the same rates along every axis."""

    def __init__(self, sizes: SeedVR2Sizes) -> None:
        super().__init__()
        self.head, self.second = sizes.head, sizes.second
        self.freqs = None if sizes.rates is None else nn.Parameter(torch.empty(sizes.rates))

    def forward(self, places: Tensor) -> Turn:
        """places [T, 3] -> the turn of T tokens, [T, 1, head / 2]. Channels that are left over stay as they are."""
        rates = self.maybe("freqs", places)
        angles = (places.unsqueeze(-1) * (self._usual(places) if rates is None else rates)).flatten(1)
        angles = F.pad(angles, (0, self.head // 2 - angles.shape[1])).unsqueeze(1)
        return angles.cos(), angles.sin()

    def _usual(self, places: Tensor) -> Tensor:
        if self.second:
            width = self.head // 3
            return _THETA ** -(torch.arange(0, width, 2, device=places.device)[: width // 2] / width)
        return torch.linspace(1, _FASTEST / 2, self.head // 2 // 3 // 2, device=places.device) * math.pi


class Both(nn.Module):
    """A layer of the film and one of the text, or one for both."""

    def __init__(self, make: Callable[[], nn.Module], shared: bool) -> None:
        super().__init__()
        if shared:
            self.all = make()
        else:
            self.vid, self.txt = make(), make()

    def __iter__(self) -> Iterator[Any]:
        """That of the film, that of the text."""
        return iter((self.all, self.all) if hasattr(self, "all") else (self.vid, self.txt))


class Modulation(Layer):
    """Shift, scale and gate of a stream before and after attention and perceptron, to which those of the time are added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for name in ("attn_shift", "attn_scale", "attn_gate", "mlp_shift", "mlp_scale", "mlp_gate"):
            setattr(self, name, nn.Parameter(torch.empty(width)))

    def shifted(self, x: Tensor, time: Tensor, layer: str) -> Tensor:
        """x [B, L, width]; time [3, B, 1, width]."""
        return x * (time[1] + self.get(f"{layer}_scale", x)) + (time[0] + self.get(f"{layer}_shift", x))

    def gated(self, x: Tensor, time: Tensor, layer: str) -> Tensor:
        return x * (time[2] + self.get(f"{layer}_gate", x))


class Perceptron(nn.Module):
    """Gated by SiLU, without biases, or with one hidden layer and GELU."""

    def __init__(self, width: int, hidden: int, gated: bool) -> None:
        super().__init__()
        self.proj_in, self.proj_out = Linear(width, hidden, bias=not gated), Linear(hidden, width, bias=not gated)
        if gated:
            self.proj_in_gate = Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if hasattr(self, "proj_in_gate"):
            return self.proj_out(F.silu(self.proj_in_gate(x)) * self.proj_in(x))
        return self.proj_out(F.gelu(self.proj_in(x), approximate="tanh"))


class WindowAttention(nn.Module):
    """Film [B, L, width] and text [B, M, width] -> both, attending within windows."""

    def __init__(self, sizes: SeedVR2Sizes, shared: bool) -> None:
        super().__init__()
        self.heads = sizes.heads
        inner = sizes.heads * sizes.head
        self.proj_qkv = Both(lambda: Linear(sizes.width, 3 * inner, bias=False), shared)
        self.proj_out = Both(lambda: Linear(inner, sizes.width), shared)
        self.norm_q, self.norm_k = (Both(lambda: RMSNorm(sizes.head, EPS), shared) for _ in range(2))
        self.rope = nn.ModuleDict({"rope": Rope(sizes)})

    def forward(self, vid: Tensor, txt: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        turns: list[Turn | None] = [self.rope["rope"](plan.places), None if plan.text is None else self.rope["rope"](plan.text)]
        layers = zip((vid, txt), turns, self.proj_qkv, self.norm_q, self.norm_k, strict=True)
        film, text = (self._heads(*each) for each in layers)
        seen, heard = torch.empty_like(film[2]), torch.zeros_like(text[2], dtype=torch.float32)
        for table in (part for shape in plan.windows for part in torch.split(shape, AT_ONCE)):
            number, length = table.shape
            q, k, v = (
                torch.cat([f[:, table], t.unsqueeze(1).expand(-1, number, -1, -1, -1)], dim=2).flatten(0, 1).transpose(1, 2)
                for f, t in zip(film, text, strict=True)
            )
            made = torch.unflatten(by_head(q, k, v).transpose(1, 2), 0, (len(vid), number))
            seen[:, table.flatten()] = made[:, :, :length].flatten(1, 2)
            heard += made[:, :, length:].sum(dim=1, dtype=torch.float32)
        outs = zip(self.proj_out, (seen, (heard / plan.count).to(seen.dtype)), strict=True)
        vid, txt = (layer(x.flatten(2)) for layer, x in outs)
        return vid, txt

    def _heads(self, x: Tensor, by: Turn | None, qkv: nn.Module, norm_q: nn.Module, norm_k: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, L, heads, head] of a stream."""
        q, k, v = torch.unflatten(qkv(x), -1, (3, self.heads, -1)).unbind(2)
        q, k = norm_q(q), norm_k(k)
        return (q, k, v) if by is None else (turned(q, by), turned(k, by), v)


class Block(nn.Module):
    """Both streams through attention and perceptrons. After the `last` attention of some nets the text is left as it is."""

    def __init__(self, sizes: SeedVR2Sizes, shared: bool, last: bool) -> None:
        super().__init__()
        self.width, self.last = sizes.width, last
        self.attn = WindowAttention(sizes, shared)
        self.mlp = Both(lambda: Perceptron(sizes.width, sizes.hidden, sizes.second), shared)
        self.ada = Both(lambda: Modulation(sizes.width), shared)

    def forward(self, vid: Tensor, txt: Tensor, time: Tensor, plan: Plan) -> tuple[Tensor, Tensor]:
        """`time` [2, 3, B, 1, width]: of attention and perceptron, each shift, scale and gate."""
        film, text = self.ada
        read = self._norm(txt)
        seen, heard = self.attn(
            film.shifted(self._norm(vid), time[0], "attn"), read if self.last else text.shifted(read, time[0], "attn"), plan
        )
        see, hear = self.mlp
        vid = vid + film.gated(seen, time[0], "attn")
        vid = vid + film.gated(see(film.shifted(self._norm(vid), time[1], "mlp")), time[1], "mlp")
        if self.last:
            return vid, txt
        txt = txt + text.gated(heard, time[0], "attn")
        return vid, txt + text.gated(hear(text.shifted(self._norm(txt), time[1], "mlp")), time[1], "mlp")

    def _norm(self, x: Tensor) -> Tensor:
        return F.rms_norm(x.float(), (self.width,), None, EPS).to(x.dtype)


class TimeEmbedding(nn.Module):
    """t in 0..1000 [B] -> [B, 6 * width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj_in, self.proj_hid = Linear(FREQUENCIES, width), Linear(width, width)
        self.proj_out = Linear(width, 6 * width)

    def forward(self, t: Tensor, dtype: torch.dtype) -> Tensor:
        sines_first = timestep_embedding(t, FREQUENCIES).roll(FREQUENCIES // 2, dims=-1).to(dtype)
        out: Tensor = self.proj_out(F.silu(self.proj_hid(F.silu(self.proj_in(sines_first)))))
        return out


class Patches(nn.Module):
    """Tokens of patches, or patches of tokens."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.proj = Linear(cin, cout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out


class Out(Layer):
    """Shift and scale before the last layer, to which those of the time before attention are added."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_shift, self.out_scale = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        return x * (time[1] + self.get("out_scale", x)) + (time[0] + self.get("out_shift", x))


class SeedVR2Net(nn.Module):
    """(x [B, shown, T, H, W], t in 0..1000 [B], text [B, M, context]) -> velocity [B, channels, T, H, W]."""

    def __init__(self, sizes: SeedVR2Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        cell = PATCH * PATCH
        self.vid_in, self.vid_out = Patches(sizes.shown * cell, sizes.width), Patches(sizes.width, sizes.channels * cell)
        self.txt_in, self.emb_in = Linear(sizes.context, sizes.width), TimeEmbedding(sizes.width)
        last = sizes.layers - 1 if sizes.second else None
        self.blocks = nn.ModuleList(Block(sizes, i >= sizes.apart, i == last) for i in range(sizes.layers))
        if sizes.second:
            self.vid_out_norm, self.vid_out_ada = RMSNorm(sizes.width, EPS), Out(sizes.width)

    def forward(self, x: Tensor, t: Tensor, text: Tensor, taps: Any = None, facts: dict[str, Any] | None = None) -> Tensor:
        frames, height, width = x.shape[2:]
        x = whole(x)
        size = (frames, x.shape[3] // PATCH, x.shape[4] // PATCH)
        vid = self.vid_in(to_tokens(x.transpose(1, 2).flatten(0, 1), PATCH, channels_last=True).reshape(len(x), math.prod(size), -1))
        txt = self.txt_in(text)
        time = torch.unflatten(self.emb_in(t, x.dtype), -1, (-1, 2, 3)).permute(2, 3, 0, 1).unsqueeze(3)
        plans = [plan(size, self.sizes, moved, txt.shape[1], x.device) for moved in (False, True)]
        site = Site(taps, {**(facts or {}), "net_input": x}) if taps else None
        for i in range(len(self.blocks)):
            vid, txt = self._step(i, vid, txt, time, plans[i % 2], site)
        if self.sizes.second:
            vid = self.vid_out_ada(self.vid_out_norm(vid), time[0])
        film = self.vid_out(vid).reshape(len(x) * frames, size[1] * size[2], -1)
        pictures = to_picture(film, x.shape[3], x.shape[4], PATCH, channels_last=True)
        return torch.unflatten(pictures, 0, (len(x), frames)).transpose(1, 2)[..., :height, :width]

    def _step(self, i: int, vid: Tensor, txt: Tensor, time: Tensor, plan: Plan, site: Site | None) -> tuple[Tensor, Tensor]:
        """The streams after one block, with the taps that packs know around it, where it goes by the name ("double_block", i)."""
        if site is None:
            out: tuple[Tensor, Tensor] = self.blocks[i](vid, txt, time, plan)
            return out
        site = site.at(block=("double_block", i), block_index=i, n_heads=self.sizes.heads)
        vid, read = streams.double(lambda vid, txt, time: self.blocks[i](vid, txt, time, plan), vid, txt, time, site)
        return vid, txt if read is None else read

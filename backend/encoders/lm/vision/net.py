"""Vision towers of Qwen 2.5 VL (Bai et al. 2025, arXiv:2502.13923) and Qwen 3 VL (arXiv:2511.21631), under the published names."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from backend.encoders.lm.vision.pictures import FRAMES, MERGE, merged_order, places
from backend.nn.attention import by_head
from backend.nn.layers import Embedding, Layer, LayerNorm, Linear, RMSNorm
from backend.nn.rope import Turn, turn, turned_halves

EPS = 1e-6
THETA = 10000.0
HEADS = 16


@dataclass(frozen=True)
class VisionSizes:
    width: int
    layers: int
    mlp: int
    patch: int
    out: int
    """Width of the language model."""
    heads: int = HEADS
    whole: tuple[int, ...] = ()
    """Layers that see the whole picture, where the others see windows."""
    window: int = 4
    """Tokens a side of such a window."""
    table: int = 0
    """Places in the table of learnt places, a square; 0: there is none."""
    deep: tuple[int, ...] = ()
    """Layers whose states go to the language model's first layers too."""


Spans = list[tuple[int, int]]
"""(begin, end) of what sees each other."""


class PatchEmbed(Layer):
    """Patches [N, 3 * frames * patch^2] -> [N, width]; the weight is kept as that of a convolution."""

    def __init__(self, sizes: VisionSizes, bias: bool) -> None:
        super().__init__()
        self.proj = Projection(sizes, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x)


class Projection(Layer):
    def __init__(self, sizes: VisionSizes, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(sizes.width, 3, FRAMES, sizes.patch, sizes.patch))
        self.bias = nn.Parameter(torch.empty(sizes.width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.get("weight", x).flatten(1), self.maybe("bias", x))


class VisionAttention(nn.Module):
    """Attention within spans, with places turned in rows and columns; x [N, width]."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.qkv, self.proj = Linear(sizes.width, 3 * sizes.width), Linear(sizes.width, sizes.width)

    def forward(self, x: Tensor, by: Turn, spans: Spans) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(1, 2, 0, 3).unsqueeze(1)
        q, k = turned_halves(q, by), turned_halves(k, by)
        out = torch.empty_like(v)
        for length, begins in _by_length(spans).items():
            at = torch.tensor(begins, device=x.device)[:, None] + torch.arange(length, device=x.device)
            part = (value[0][:, at].transpose(0, 1) for value in (q, k, v))
            out[0][:, at] = by_head(*part).transpose(0, 1)
        return self.proj(out[0].transpose(0, 1).flatten(1))


def _by_length(spans: Spans) -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for begin, end in spans:
        found[end - begin].append(begin)
    return found


class Gated(nn.Module):
    """A SwiGLU with biases."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = Linear(width, inner), Linear(width, inner), Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Plain(nn.Module):
    """Two layers with a GELU (tanh) between."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear_fc1, self.linear_fc2 = Linear(width, inner), Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear_fc2(F.gelu(self.linear_fc1(x), approximate="tanh"))


class VisionBlock(nn.Module):
    def __init__(self, sizes: VisionSizes, gated: bool) -> None:
        super().__init__()
        norm = RMSNorm if gated else LayerNorm
        self.norm1, self.norm2 = norm(sizes.width, EPS), norm(sizes.width, EPS)
        self.attn = VisionAttention(sizes)
        self.mlp = (Gated if gated else Plain)(sizes.width, sizes.mlp)

    def forward(self, x: Tensor, by: Turn, spans: Spans) -> Tensor:
        x = x + self.attn(self.norm1(x), by, spans)
        return x + self.mlp(self.norm2(x))


class Merger(nn.Module):
    """Four patches that lie together -> a token: Qwen 2.5's."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        inner = sizes.width * MERGE**2
        self.inner = inner
        self.ln_q = RMSNorm(sizes.width, EPS)
        self.mlp = nn.ModuleList([Linear(inner, inner), nn.GELU(), Linear(inner, sizes.out)])

    def forward(self, x: Tensor) -> Tensor:
        return self.mlp[2](F.gelu(self.mlp[0](self.ln_q(x).view(-1, self.inner))))


class Merger3(nn.Module):
    """The same in Qwen 3; `after`: normed when they are one."""

    def __init__(self, sizes: VisionSizes, after: bool = False) -> None:
        super().__init__()
        self.inner, self.after = sizes.width * MERGE**2, after
        self.norm = LayerNorm(self.inner if after else sizes.width, EPS)
        self.linear_fc1, self.linear_fc2 = Linear(self.inner, self.inner), Linear(self.inner, sizes.out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x.view(-1, self.inner)) if self.after else self.norm(x).view(-1, self.inner)
        return self.linear_fc2(F.gelu(self.linear_fc1(x)))


class Qwen2Vision(nn.Module):
    """(patches [N, ...] of one picture, rows, columns) -> (tokens [N / 4, width of the language model], nothing more)."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbed(sizes, bias=False)
        self.blocks = nn.ModuleList(VisionBlock(sizes, gated=True) for _ in range(sizes.layers))
        self.merger = Merger(sizes)

    def forward(self, x: Tensor, rows: int, columns: int) -> tuple[Tensor, list[Tensor]]:
        order, windows = self._windows(rows // MERGE, columns // MERGE)
        order = order.to(x.device)
        head = self.sizes.width // self.sizes.heads
        grouped = places(rows, columns, x.device).view(-1, MERGE**2, 2)[order].flatten(0, 1)
        by = turn(grouped, (head // 2, head // 2), THETA)
        h = self.patch_embed(x).view(-1, MERGE**2, self.sizes.width)[order].flatten(0, 1)
        for i, block in enumerate(self.blocks):
            h = block(h, by, [(0, len(h))] if i in self.sizes.whole else windows)
        return self.merger(h)[order.argsort()], []

    def _windows(self, rows: int, columns: int) -> tuple[Tensor, Spans]:
        """The order in which tokens lie window by window, and the windows' spans of patches."""
        side, numbers = self.sizes.window, torch.arange(rows * columns).view(rows, columns)
        cut = [part.flatten() for band in torch.split(numbers, side) for part in torch.split(band, side, dim=1)]
        ends = torch.tensor([len(part) for part in cut]).cumsum(0) * MERGE**2
        return torch.cat(cut), list(zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True))


class Qwen3Vision(nn.Module):
    """(patches [N, ...] of one picture, rows, columns) -> (tokens [N / 4, width of the language model], the same for its first layers)."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbed(sizes, bias=True)
        self.pos_embed = Embedding(sizes.table, sizes.width)
        self.blocks = nn.ModuleList(VisionBlock(sizes, gated=False) for _ in range(sizes.layers))
        self.merger = Merger3(sizes)
        self.deepstack_merger_list = nn.ModuleList(Merger3(sizes, after=True) for _ in sizes.deep)

    def forward(self, x: Tensor, rows: int, columns: int) -> tuple[Tensor, list[Tensor]]:
        head = self.sizes.width // self.sizes.heads
        by = turn(places(rows, columns, x.device), (head // 2, head // 2), THETA)
        h = self.patch_embed(x) + self._placed(rows, columns, x)
        deep = []
        for i, block in enumerate(self.blocks):
            h = block(h, by, [(0, len(h))])
            if i in self.sizes.deep:
                deep.append(self.deepstack_merger_list[self.sizes.deep.index(i)](h))
        return self.merger(h), deep

    def _placed(self, rows: int, columns: int, x: Tensor) -> Tensor:
        """The table of learnt places, stretched over the picture."""
        side = round(self.sizes.table**0.5)
        table = self.pos_embed.get("weight", x).view(side, side, -1).movedim(-1, 0).unsqueeze(0)
        stretched = F.interpolate(table.float(), (rows, columns), mode="bilinear", align_corners=True)
        return merged_order(stretched[0].movedim(0, -1)).to(x.dtype)

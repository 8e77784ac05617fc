"""Cheaper self-attention: in tiles (HyperTile), or over merged tokens (ToMe)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from backend.diffusion.handle import ModelHandle
from backend.diffusion.patches.steps import Kept


class Random:
    """Draws that repeat from sampling to sampling."""

    def __init__(self) -> None:
        self.generator = torch.Generator()
        self.generator.manual_seed(0)

    def begin(self, model: ModelHandle, sigmas: Tensor) -> None:
        self.generator.manual_seed(0)

    def end(self) -> None:
        pass


def map_size(facts: Mapping[str, Any], tokens: int) -> tuple[int, int] | None:
    """Height and width of the feature map of `tokens` positions: the latent's, halved (rounded up) as often as needed."""
    height, width = facts["original_shape"][-2:]
    while height * width > tokens:
        height, width = math.ceil(height / 2), math.ceil(width / 2)
    return (height, width) if height * width == tokens else None


class HyperTile(Random):
    """Self-attention within tiles of about `tile` latent cells, at maps halved at most `max_depth` times (tfernd 2023).

    A side is cut into equal parts; among the first `choices` possible cuts one is drawn at each attention, so that seams move.
    `scale_depth`: tiles cover as many cells of a halved map as of the whole one.
    """

    def __init__(self, tile: int, choices: int, max_depth: int, scale_depth: bool) -> None:
        super().__init__()
        self.tile, self.choices, self.max_depth, self.scale_depth = tile, choices, max_depth, scale_depth
        self.cut: tuple[int, int, int, int] | None = None

    def split(self, q: Tensor, k: Tensor, v: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        self.cut = None
        size = map_size(facts, q.shape[1])
        if size is None or k.shape[1] != q.shape[1]:
            return q, k, v
        depth = round(math.log2(facts["original_shape"][-2] / size[0]))
        if depth > self.max_depth:
            return q, k, v
        least = self.tile * (2**depth if self.scale_depth else 1)
        rows, columns = (self._parts(side, least) for side in size)
        if rows * columns == 1:
            return q, k, v
        self.cut = (rows, columns, *size)
        return self._tiles(q), self._tiles(k), self._tiles(v)

    def join(self, out: Tensor, facts: Mapping[str, Any]) -> Tensor:
        if self.cut is None:
            return out
        rows, columns, height, width = self.cut
        out = out.reshape(-1, rows, columns, height // rows, width // columns, out.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return out.reshape(-1, height * width, out.shape[-1])

    def _tiles(self, x: Tensor) -> Tensor:
        assert self.cut is not None
        rows, columns, height, width = self.cut
        x = x.reshape(x.shape[0], rows, height // rows, columns, width // columns, x.shape[-1]).permute(0, 1, 3, 2, 4, 5)
        return x.reshape(-1, (height // rows) * (width // columns), x.shape[-1])

    def _parts(self, side: int, least: int) -> int:
        """Into how many parts of at least `least` a side is cut."""
        least = min(least, side)
        counts = [side // size for size in range(least, side + 1) if side % size == 0][: self.choices]
        return counts[int(torch.randint(len(counts), (), generator=self.generator))]


def hypertile(model: ModelHandle, tile_size: int, swap_size: int, max_depth: int, scale_depth: bool) -> ModelHandle:
    """Self-attention in tiles of about `tile_size` pixels, never smaller than 32."""
    tap = HyperTile(max(32, tile_size) // 8, swap_size, max_depth, scale_depth)
    return _with_pair(model, tap, tap.split, tap.join)


class Merging(Random):
    """Token merging (Bolya & Hoffman 2023, arXiv:2303.17604): queries alike are attended with as one, at the finest map."""

    def __init__(self, ratio: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.found: Matching | None = None

    def merge(self, q: Tensor, k: Tensor, v: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        self.found = None
        height, width = facts["original_shape"][-2:]
        if q.shape[1] == height * width:
            merged = int(q.shape[1] * self.ratio)
            self.found = match(q, height, width, merged, self.generator) if merged else None
        return (q if self.found is None else self.found.merge(q)), k, v

    def unmerge(self, out: Tensor, facts: Mapping[str, Any]) -> Tensor:
        return out if self.found is None else self.found.unmerge(out)


class Matching:
    """Which tokens [B, N] are merged (`source` rows into `target` rows), and which stay.

    Rows are positions: `a` of the tokens that may be merged away, ordered by likeness, `b` of the others; `into` [B, r] indexes b.
    """

    def __init__(self, a: Tensor, b: Tensor, order: Tensor, into: Tensor, count: int) -> None:
        self.a, self.b, self.into, self.count = a, b, into, count
        self.gone, self.kept = a[order[:, :count]], a[order[:, count:]]

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, N - r, C]: tokens that stay, then the others, each the mean of itself and what was merged into it."""
        width = x.shape[-1]
        base = x[:, self.b]
        base = base.scatter_reduce(1, self.into[..., None].expand(-1, -1, width), _rows(x, self.gone), "mean")
        return torch.cat([_rows(x, self.kept), base], 1)

    def unmerge(self, x: Tensor) -> Tensor:
        """[B, N - r, C] -> [B, N, C]: merged tokens all get their common value."""
        stay = self.kept.shape[1]
        base = x[:, stay:]
        out = x.new_zeros(x.shape[0], len(self.a) + len(self.b), x.shape[-1])
        out[:, self.b] = base
        out.scatter_(1, self.kept[..., None].expand(-1, -1, x.shape[-1]), x[:, :stay])
        out.scatter_(1, self.gone[..., None].expand(-1, -1, x.shape[-1]), _rows(base, self.into))
        return out


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """x [B, N, C] at index [B, n]."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))


def match(x: Tensor, height: int, width: int, count: int, generator: torch.Generator | None = None) -> Matching:
    """Bipartite soft matching: one token of every 2 x 2 cell, drawn by `generator` (None: the first), is a target; of all others the
    `count` most alike (cosine) to a target are merged into it."""
    rows, columns = height // 2, width // 2
    drawn = torch.zeros(rows, columns, dtype=torch.long)
    if generator is not None:
        drawn = torch.randint(4, (rows, columns), generator=generator)
    y = torch.arange(rows)[:, None] * 2 + drawn // 2
    at = y * width + torch.arange(columns)[None] * 2 + drawn % 2
    is_target = torch.zeros(height * width, dtype=torch.bool)
    is_target[at.flatten()] = True
    a, b = ((is_target == wanted).nonzero()[:, 0].to(x.device) for wanted in (False, True))
    unit = x / x.norm(dim=-1, keepdim=True)
    best, into = (unit[:, a] @ unit[:, b].transpose(-1, -2)).max(-1)
    order = best.argsort(-1, descending=True)
    count = min(len(a), count)
    return Matching(a, b, order, into.gather(1, order[:, :count]), count)


def merge_tokens(model: ModelHandle, ratio: float) -> ModelHandle:
    """Merge this share of the queries of self-attention at the finest map."""
    tap = Merging(ratio)
    return _with_pair(model, tap, tap.merge, tap.unmerge)


def _with_pair(model: ModelHandle, keeper: Random, before: Any, after: Any) -> ModelHandle:
    """Taps around self-attention; `keeper` is told of samplings through a predict tap that does nothing else."""
    return model.with_tap("attn1_patch", Kept(keeper, before)).with_tap("attn1_output_patch", after)
